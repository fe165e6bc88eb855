package faults

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/outbox"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// steppedClock is a wall clock that somebody sets.
type steppedClock struct{ offset atomic.Int64 }

func (c *steppedClock) now() time.Time       { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *steppedClock) step(d time.Duration) { c.offset.Add(int64(d)) }

// live runs an outbox with its client; stop ends both.
func (r *rig) live(dir string, clock *steppedClock) (box *outbox.Outbox, stop func()) {
	r.t.Helper()
	token, err := events.StaticToken(secret.New(r.ProviderToken()))
	require.NoError(r.t, err)
	client, err := events.New(events.Config{
		URL: r.URL(), Token: token, Replies: []string{usage.Reply}, Timeout: 3 * time.Second, Retry: true,
	})
	require.NoError(r.t, err)
	box, err = outbox.Open(outbox.Config{Dir: dir, Sender: usage.NewPublisher(client), LateReply: 300 * time.Millisecond, Now: clock.now})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- box.Run(ctx) }()
	go func() { ended <- client.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(r.t, errors.Join(<-ended, <-ended))
	})
	r.t.Cleanup(stop)
	return box, stop
}

// The wall clock is set forth and back under the outbox, within a life and
// between two: nothing waits for the clock to come round, nothing is lost or
// closed twice, and records bear the clock's time. A whole process on a stepped
// clock is not tested: nothing short of setting the machine's clock moves it.
func TestClockStep(t *testing.T) {
	const year = 365 * 24 * time.Hour
	r := newRig(t)
	clock := &steppedClock{}
	dir := dataDir(r.dir)
	box, stop := r.live(dir, clock)
	op := func() lifecycle.Operation {
		return lifecycle.Operation{
			ID: uuid.NewString(), Action: lifecycle.Start, Account: uuid.NewString(), RequestID: uuid.NewString(), RequestedAt: clock.now(),
		}
	}
	for _, step := range []time.Duration{0, time.Hour, -2 * time.Hour, 10 * year, -20 * year, 10*year + time.Hour} {
		requested, held := op(), op()
		require.NoError(t, box.Requested(t.Context(), requested))
		require.NoError(t, box.Requested(t.Context(), held))
		require.NoError(t, box.Ended(held, lifecycle.Unknown, time.Second))
		clock.step(step)
		at := clock.now()
		require.NoError(t, box.Ended(requested, lifecycle.Accepted, time.Second))
		end := r.ended(requested, "accepted")
		r.ended(held, "unknown")
		assert.WithinRange(t, end.OccurredAt, at.Add(-time.Second), at.Add(time.Minute), "after a step of %v", step)
	}
	// What is open when the process ends is closed by the next, whose clock is
	// far behind.
	open := op()
	require.NoError(t, box.Requested(t.Context(), open))
	stop()
	clock.step(-3 * year)
	box, stop = r.live(dir, clock)
	r.ended(open, "unknown")
	next := op()
	require.NoError(t, box.Requested(t.Context(), next))
	require.NoError(t, box.Ended(next, lifecycle.Accepted, time.Second))
	r.ended(next, "accepted")
	assert.True(t, eventually(func() bool { return box.Stats().Records == 0 }), "left: %+v", box.Stats())
	stop()
	r.wantWrite(r.gateway(), start, 202, "")
}

// ended waits for the two records of op and returns the second.
func (r *rig) ended(op lifecycle.Operation, outcome string) platform.UsageRecord {
	r.t.Helper()
	var records []platform.UsageRecord
	require.True(r.t, eventually(func() bool {
		records = r.Usage.RecordsFor(op.RequestID)
		return len(records) == 2
	}), "records of %s: %+v", op.RequestID, records)
	assert.Equal(r.t, outcome, records[1].Data["outcome"])
	return records[1]
}
