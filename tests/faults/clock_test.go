package faults

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// steppedClock is a wall clock that somebody sets.
type steppedClock struct{ offset atomic.Int64 }

func (c *steppedClock) now() time.Time       { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *steppedClock) step(d time.Duration) { c.offset.Add(int64(d)) }

// live runs a store that delivers its records; stop ends both.
func (r *rig) live(dir string, clock *steppedClock) (operations *store.Store, stop func()) {
	r.t.Helper()
	const timeout = 500 * time.Millisecond
	token, err := events.StaticToken(secret.New(r.ProviderToken()))
	require.NoError(r.t, err)
	client, err := events.New(events.Config{
		URL: r.URL(), Token: token, Replies: []string{usage.Reply}, Timeout: timeout, Retry: true, RetryMin: 10 * time.Millisecond, RetryMax: time.Second,
	})
	require.NoError(r.t, err)
	operations, err = store.Open(r.t.Context(), store.Config{
		Dir: dir, Records: store.DeliverRecords, Timeout: timeout, LateReply: 100 * time.Millisecond, Keep: 24 * time.Hour,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Now: clock.now,
	})
	require.NoError(r.t, err)
	publisher := usage.Publisher{Client: client}
	publisher.Acknowledged(operations.Acknowledged)
	deliver := func(ctx context.Context) error { return operations.Deliver(ctx, publisher.Send) }
	return operations, harness.Run(r.t, operations.Run, client.Run, deliver)
}

// The wall clock is set forth and back under the store, within a life and
// between two: nothing waits for the clock to come round, nothing is lost or
// closed twice, and records bear the clock's time. A whole process on a stepped
// clock is not tested: nothing short of setting the machine's clock moves it.
func TestClockStep(t *testing.T) {
	const year = 365 * 24 * time.Hour
	r := newRig(t)
	clock := &steppedClock{}
	dir := dataDir(r.dir)
	operations, stop := r.live(dir, clock)
	request := func() lifecycle.Write {
		w := lifecycle.Write{Operation: lifecycle.Operation{ID: uuid.NewString(), Action: lifecycle.Start, Account: uuid.NewString(), RequestID: uuid.NewString()}}
		_, err := operations.Begin(t.Context(), w)
		require.NoError(t, err)
		return w
	}
	end := func(w lifecycle.Write) {
		_, err := operations.Ended(w.ID, lifecycle.Accepted, nil, time.Second)
		require.NoError(t, err)
	}
	var held []lifecycle.Write
	for _, step := range []time.Duration{0, time.Hour, -2 * time.Hour, 10 * year, -20 * year} {
		requested := request()
		held = append(held, request())
		clock.step(step)
		at := clock.now()
		end(requested)
		assert.WithinRange(t, r.ended(requested, "accepted").OccurredAt, at.Add(-time.Second), at.Add(time.Minute), "after a step of %v", step)
	}
	for _, op := range held {
		r.ended(op, "unknown")
	}
	// What is open when the process ends is closed by the next, whose clock is
	// far behind.
	open := request()
	stop()
	clock.step(-3 * year)
	operations, stop = r.live(dir, clock)
	r.ended(open, "unknown")
	next := request()
	end(next)
	r.ended(next, "accepted")
	assert.True(t, eventually(func() bool { return operations.Stats().Waiting == 0 }), "left: %+v", operations.Stats())
	stop()
	r.wantWrite(r.gateway(), start, 202, "")
}

// ended waits for the two records of op and returns the second.
func (r *rig) ended(op lifecycle.Write, outcome string) platform.UsageRecord {
	r.t.Helper()
	var records []platform.UsageRecord
	require.True(r.t, eventually(func() bool {
		records = r.Usage.RecordsFor(op.RequestID)
		return len(records) == 2
	}), "records of %s: %+v", op.RequestID, records)
	assert.Equal(r.t, outcome, records[1].Data["outcome"])
	return records[1]
}
