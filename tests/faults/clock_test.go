package faults

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/outbox"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// steppedClock is a wall clock that somebody sets.
type steppedClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *steppedClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// life is an outbox with its client, both running.
type life struct {
	*outbox.Outbox
	stop func()
}

func (r *rig) live(dir string, clock *steppedClock) life {
	r.t.Helper()
	token, err := events.StaticToken(secret.New(r.ProviderToken()))
	must(r.t, err)
	client, err := events.New(events.Config{
		URL: r.URL(), Token: token, Replies: []string{usage.Reply}, Timeout: 3 * time.Second, Retry: true,
	})
	must(r.t, err)
	box, err := outbox.Open(outbox.Config{Dir: dir, Sender: usage.NewPublisher(client), LateReply: 300 * time.Millisecond, Now: clock.now})
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- box.Run(ctx) }()
	go func() { ended <- client.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := errors.Join(<-ended, <-ended); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(stop)
	return life{box, stop}
}

// The wall clock is set forth and back under the outbox, within a life and
// between two: nothing waits for the clock to come round, nothing is lost or
// closed twice, and records bear the clock's time. A whole process on a stepped
// clock is not tested: nothing short of setting the machine's clock moves it.
func TestClockStep(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	r := newRig(t)
	clock := &steppedClock{}
	dir := dataDir(r.dir)
	box := r.live(dir, clock)
	op := func() lifecycle.Operation {
		return lifecycle.Operation{
			ID: uuid.NewString(), Action: lifecycle.Start, Account: uuid.NewString(), RequestID: uuid.NewString(), RequestedAt: clock.now(),
		}
	}
	for _, step := range []time.Duration{0, time.Hour, -2 * time.Hour, 10 * year, -20 * year, 10*year + time.Hour} {
		requested, held := op(), op()
		must(t, box.Requested(t.Context(), requested))
		must(t, box.Requested(t.Context(), held))
		must(t, box.Ended(held, lifecycle.Unknown, time.Second))
		clock.step(step)
		at := clock.now()
		must(t, box.Ended(requested, lifecycle.Accepted, time.Second))
		end := r.ended(requested, "accepted")
		r.ended(held, "unknown")
		if off := end.OccurredAt.Sub(at); off < -time.Second || off > time.Minute {
			t.Errorf("after a step of %v the record is %v off", step, off)
		}
	}
	// What is open when the process ends is closed by the next, whose clock is
	// far behind.
	open := op()
	must(t, box.Requested(t.Context(), open))
	box.stop()
	clock.step(-3 * year)
	box = r.live(dir, clock)
	r.ended(open, "unknown")
	next := op()
	must(t, box.Requested(t.Context(), next))
	must(t, box.Ended(next, lifecycle.Accepted, time.Second))
	r.ended(next, "accepted")
	if !eventually(func() bool { return box.Stats().Records == 0 }) {
		t.Errorf("left: %+v", box.Stats())
	}
	box.stop()
	r.wantWrite(r.gateway(), start, 202, "")
}

// ended waits for the two records of op and returns the second.
func (r *rig) ended(op lifecycle.Operation, outcome string) (end platform.UsageRecord) {
	r.t.Helper()
	if !eventually(func() bool {
		records := r.Usage.RecordsFor(op.RequestID)
		if len(records) == 2 {
			end = records[1]
		}
		return len(records) == 2
	}) {
		r.t.Fatalf("records of %s: %+v", op.RequestID, r.Usage.RecordsFor(op.RequestID))
	}
	if end.Data["outcome"] != outcome {
		r.t.Errorf("ended as %v, want %s", end.Data, outcome)
	}
	return end
}
