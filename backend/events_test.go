package backend

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Settle gets what no Apply waits for: the replies to other requesters, those
// that come late, and those of the history, which change no snapshot.
func TestSettle(t *testing.T) {
	p, err := platform.Start(platform.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, p.Close()) }()
	p.VM.SetBehaviour(platform.Behaviour{Deaf: true})
	worker := platform.NewClient(p.URL(), p.ProviderToken())
	defer worker.Close()
	reply := func(name, id, payload string) {
		require.NoError(t, worker.Publish(t.Context(), platform.Message{Name: name, CorrelationID: id, Payload: json.RawMessage(payload)}))
	}
	token, err := events.StaticToken(secret.New(p.ProviderToken()))
	require.NoError(t, err)
	client, err := events.New(events.Config{URL: p.URL(), Token: token, Replies: EventsReplies(), Timeout: time.Minute, Retry: true})
	require.NoError(t, err)
	set, settled := metrics.NewSet(), make(chan string, 99)
	overheard := make(chan string, 99)
	machine := NewEvents(EventsConfig{
		Client: client,
		Status: snapshot.Config{
			MaxAge: time.Minute, Refresh: time.Minute, RefreshMoving: time.Minute, Timeout: time.Minute, Metrics: set,
		},
		Settle: func(id string, rejection error, _ func()) {
			settled <- id + " " + string(map[bool]lifecycle.Outcome{true: lifecycle.Accepted, false: lifecycle.Rejected}[rejection == nil])
		},
		Overheard: func(id string, action lifecycle.Action) { overheard <- id + " " + string(action) },
	})
	ctx := t.Context()
	defer harness.Run(t, client.Run)()
	for _, name := range EventsReplies() {
		require.NoError(t, client.Connected(ctx, name))
	}
	invalidations := set.GetOrCreateCounter("bus_vm_snapshot_invalidations_total")
	was := invalidations.Get()
	invalidated := func(times uint64) {
		t.Helper()
		assert.Equal(t, was+times, invalidations.Get())
		was = invalidations.Get()
	}
	type end struct {
		outcome lifecycle.Outcome
		err     error
	}
	asked := 0
	apply := func(ctx context.Context, id string) <-chan end {
		done := make(chan end, 1)
		go func() {
			outcome, err := machine.Apply(ctx, lifecycle.Operation{ID: id, Action: lifecycle.Start})
			done <- end{outcome, err}
		}()
		asked++
		require.NoError(t, p.Events.WaitAccepted(ctx, platform.StartRequest, asked))
		return done
	}
	const yes, no = `{"accepted":true}`, `{"accepted":false}`
	start, halt := writes[lifecycle.Start].reply, writes[lifecycle.Stop].reply

	reply(start, "other", yes)
	assert.Equal(t, "other accepted", <-settled)
	invalidated(1)
	reply(halt, "other stop", no)
	assert.Equal(t, "other stop rejected", <-settled)
	invalidated(0)

	cut, cancel := context.WithCancel(ctx)
	late := apply(cut, "late")
	cancel()
	assert.Equal(t, lifecycle.Unknown, (<-late).outcome)
	invalidated(1)
	reply(start, "late", `{}`) // malformed: it settles nothing
	reply(start, "late", yes)
	assert.Equal(t, "late accepted", <-settled)
	invalidated(1)

	own := apply(ctx, "own")
	reply(start, "own", yes)
	assert.Equal(t, end{lifecycle.Accepted, nil}, <-own)
	invalidated(1)
	reply(start, "own", yes)
	reply(start, "next", no)
	assert.Equal(t, "next rejected", <-settled, "not what an Apply was told")
	invalidated(0)

	// The history tells all of it again, and what was missed: to an Apply too,
	// which invalidates what was asked for before.
	missed := apply(ctx, "missed")
	p.Events.SetFaults(platform.Faults{Names: []string{start}, HalfOpen: true}) // so that the stream misses them
	reply(start, "of a replica", yes)
	reply(start, "missed", yes)
	p.Events.SetFaults(platform.Faults{})
	require.NoError(t, client.ReadHistory(ctx, start))
	assert.Equal(t, end{lifecycle.Accepted, nil}, <-missed)
	invalidated(1)
	for _, want := range []string{"other accepted", "late accepted", "next rejected", "of a replica accepted"} {
		assert.Equal(t, want, <-settled)
	}
	assert.Empty(t, settled)
	for _, want := range []string{"other start", "late start"} {
		assert.Equal(t, want, <-overheard)
	}
	assert.Empty(t, overheard)
}

// The cause of a status that does not come says what was asked.
func TestSeeInVain(t *testing.T) {
	token, err := events.StaticToken(secret.New("t"))
	require.NoError(t, err)
	client, err := events.New(events.Config{URL: "http://127.0.0.1:1", Token: token, Replies: EventsReplies()})
	require.NoError(t, err)
	machine := NewEvents(EventsConfig{Client: client, Status: snapshot.Config{MaxAge: time.Minute, Refresh: time.Minute, RefreshMoving: time.Minute,
		Timeout: time.Minute, Metrics: metrics.NewSet()}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = machine.See(ctx)
	failure := &lifecycle.Error{}
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, lifecycle.Unavailable, failure.Kind)
	assert.EqualError(t, failure.Cause, "no reply came to bus.vm.status.request: context deadline exceeded")
}
