package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// bus is an Events API with workers that say what their test says.
type bus struct {
	published chan string // correlation ids

	mu      sync.Mutex
	history map[string]string
	streams map[string]chan string // live ones, by event name
}

func (b *bus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		var event struct{ CorrelationID string }
		_ = json.NewDecoder(r.Body).Decode(&event)
		b.published <- event.CorrelationID
		_, _ = io.WriteString(w, `{"accepted":true}`)
		return
	}
	name := r.URL.Query().Get("name")
	w.Header().Set("Content-Type", "application/x-ndjson")
	b.mu.Lock()
	past, live := b.history[name], b.streams[name]
	b.mu.Unlock()
	if r.URL.Query().Get("replay") == "true" {
		_, _ = io.WriteString(w, past)
		return
	}
	control := http.NewResponseController(w)
	for _ = control.Flush(); ; _ = control.Flush() {
		select {
		case line := <-live:
			_, _ = io.WriteString(w, line)
		case <-r.Context().Done():
			return
		}
	}
}

// reply answers id; without live, in the history only.
func (b *bus) reply(name, id, payload string, live bool) {
	line := fmt.Sprintf(`{"name":%q,"correlationId":%q,"payload":%s}`+"\n", name, id, payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history[name] += line
	if live {
		b.streams[name] <- line
	}
}

// Settle gets what no Apply waits for: the replies to other requesters, those
// that come late, and those of the history, which change no snapshot.
func TestSettle(t *testing.T) {
	b := &bus{published: make(chan string, 9), history: map[string]string{}, streams: map[string]chan string{}}
	for _, reply := range EventsReplies() {
		b.streams[reply] = make(chan string, 99)
	}
	api := httptest.NewServer(b)
	defer api.Close()
	token, err := events.StaticToken(secret.New("t"))
	require.NoError(t, err)
	client, err := events.New(events.Config{URL: api.URL, Token: token, Replies: EventsReplies(), Timeout: time.Minute, Retry: true})
	require.NoError(t, err)
	set, settled := metrics.NewSet(), make(chan string, 99)
	overheard := make(chan string, 99)
	machine := NewEvents(EventsConfig{
		Client: client,
		Status: snapshot.Config{
			MaxAge: time.Minute, Refresh: time.Minute, RefreshMoving: time.Minute, Timeout: time.Minute, Metrics: set,
		},
		Settle: func(id string, rejection error, _ bool) {
			settled <- id + " " + string(map[bool]Outcome{true: Accepted, false: Rejected}[rejection == nil])
		},
		Overheard: func(id string, action Action) { overheard <- id + " " + string(action) },
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	defer func() { stop(); assert.NoError(t, <-ended) }()
	for _, reply := range EventsReplies() {
		require.NoError(t, client.Connected(ctx, reply))
	}
	invalidations := set.GetOrCreateCounter("bus_vm_snapshot_invalidations_total")
	was := invalidations.Get()
	invalidated := func(times uint64) {
		t.Helper()
		assert.Equal(t, was+times, invalidations.Get())
		was = invalidations.Get()
	}
	type end struct {
		outcome Outcome
		err     error
	}
	apply := func(ctx context.Context, id string) <-chan end {
		done := make(chan end, 1)
		go func() {
			outcome, err := machine.Apply(ctx, Operation{ID: id, Action: Start})
			done <- end{outcome, err}
		}()
		require.Equal(t, id, <-b.published)
		return done
	}
	const yes, no = `{"accepted":true}`, `{"accepted":false}`
	start, halt := writes[Start].reply, writes[Stop].reply

	b.reply(start, "other", yes, true)
	assert.Equal(t, "other accepted", <-settled)
	invalidated(1)
	b.reply(halt, "other stop", no, true)
	assert.Equal(t, "other stop rejected", <-settled)
	invalidated(0)

	cut, cancel := context.WithCancel(ctx)
	late := apply(cut, "late")
	cancel()
	assert.Equal(t, Unknown, (<-late).outcome)
	invalidated(1)
	b.reply(start, "late", `{}`, true) // malformed: it settles nothing
	b.reply(start, "late", yes, true)
	assert.Equal(t, "late accepted", <-settled)
	invalidated(1)

	own := apply(ctx, "own")
	b.reply(start, "own", yes, true)
	assert.Equal(t, end{Accepted, nil}, <-own)
	invalidated(1)
	b.reply(start, "own", yes, true)
	b.reply(start, "next", no, true)
	assert.Equal(t, "next rejected", <-settled, "not what an Apply was told")
	invalidated(0)

	// The history tells all of it again, and what was missed: to an Apply too,
	// which invalidates what was asked for before.
	missed := apply(ctx, "missed")
	b.reply(start, "of a replica", yes, false)
	b.reply(start, "missed", yes, false)
	require.NoError(t, client.ReadHistory(ctx, start))
	assert.Equal(t, end{Accepted, nil}, <-missed)
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
	failure := &Error{}
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, Unavailable, failure.Kind)
	assert.EqualError(t, failure.Cause, "no reply came to bus.vm.status.request: context deadline exceeded")
}
