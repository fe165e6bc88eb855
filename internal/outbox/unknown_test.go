package outbox

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

const lateReply = time.Minute

func TestUnknownOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		// later is when the reply comes after all; zero: never.
		later          time.Duration
		outcome        lifecycle.Outcome
		want           string
		replaced, late uint64
	}{
		"no reply":                       {0, "", unknownEvent, 0, 0},
		"a reply in time":                {lateReply - time.Second, lifecycle.Accepted, finishedEvent, 1, 0},
		"a refusal in time":              {time.Second, lifecycle.Rejected, "runtime_start_failed rejected", 1, 0},
		"a reply too late":               {lateReply + time.Second, lifecycle.Accepted, unknownEvent, 0, 1},
		"unknown again changes nothing":  {lateReply - time.Second, lifecycle.Unknown, unknownEvent, 0, 1},
		"known outcomes are not changed": {time.Nanosecond, lifecycle.NotSent, notSentEvent, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSink(nil)
				o := start(t, Config{Dir: t.TempDir(), Sender: s, LateReply: lateReply})
				op := newOperation()
				o.pair(op, lifecycle.Unknown)
				if c.outcome != "" {
					after(c.later)
					require.NoError(t, o.Ended(op, c.outcome, time.Second))
				} else {
					after(lateReply - time.Nanosecond)
					wantEvents(t, s.records(), requestedEvent)
					wantOnDisk(t, o.Outbox, op, lifecycle.Unknown)
					time.Sleep(time.Nanosecond)
				}
				after(time.Second)
				if c.outcome == lifecycle.Unknown {
					after(time.Second)
				}
				wantEvents(t, s.records(), requestedEvent, c.want)
				assert.Equal(t, c.replaced, o.count.replaced.Get())
				assert.Equal(t, c.late, o.count.late.Get())
			})
		})
	}
}

// An unknown outcome that is not handed over yet can still become known, even
// after LateReply: the integration was away.
func TestUnknownWaitsForItsRequested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{err: errDown}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, LateReply: lateReply})
		op := newOperation()
		o.pair(op, lifecycle.Unknown)
		time.Sleep(time.Hour)
		require.NoError(t, o.Ended(op, lifecycle.Accepted, time.Second))
		g.set(nil)
		after(time.Minute)
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
	})
}

// Once the integration may have seen the record, its content is final.
func TestUnknownIsFinalOnceHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, LateReply: lateReply})
		op := newOperation()
		o.pair(op, lifecycle.Unknown)
		synctest.Wait()
		g.set(errDown)
		time.Sleep(lateReply + time.Second)
		require.NoError(t, o.Ended(op, lifecycle.Accepted, time.Second))
		g.set(nil)
		after(time.Minute)
		wantEvents(t, s.records(), requestedEvent, unknownEvent)
	})
}

func TestUnknownIsDeliveredAtOnceAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, op := t.TempDir(), newSink(nil), newOperation()
		o := start(t, Config{Dir: dir, Sender: s, LateReply: lateReply})
		o.pair(op, lifecycle.Unknown)
		synctest.Wait()
		o.stop()
		wantEvents(t, s.records(), requestedEvent)
		start(t, Config{Dir: dir, Sender: s, LateReply: lateReply})
		synctest.Wait()
		require.Len(t, s.records(), 2)
		checkPairs(t, s, []lifecycle.Operation{op})
	})
}

// The wall clock jumps by a year, either way, at every reading. Only stamps may
// notice.
func TestClockStepHoldsNothingUp(t *testing.T) {
	for name, step := range map[string]time.Duration{"forward": 365 * 24 * time.Hour, "back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wall := time.Now().Round(0)
				g := &gate{}
				s := newSink(g.answer)
				o := start(t, Config{Dir: t.TempDir(), Sender: s, LateReply: lateReply, Now: func() time.Time {
					wall = wall.Add(step)
					return wall
				}})
				op := newOperation()
				o.pair(op, lifecycle.Unknown)
				after(lateReply + time.Second)
				wantEvents(t, s.records(), requestedEvent, unknownEvent)

				g.set(errDown)
				o.pair(newOperation(), lifecycle.Accepted)
				time.Sleep(time.Second)
				if age := o.Stats().OldestAge; age != time.Second {
					t.Errorf("oldest record %s old, want 1s", age)
				}
				g.set(nil)
				after(time.Second)
				wantEvents(t, s.records()[2:], requestedEvent, finishedEvent)
			})
		})
	}
}

// A restart reads stamps that another clock made.
func TestClockStepOverARestart(t *testing.T) {
	for name, step := range map[string]time.Duration{"forward": 365 * 24 * time.Hour, "back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, s, op := t.TempDir(), newSink(nil), newOperation()
				o := start(t, Config{Dir: dir, Sender: s})
				require.NoError(t, o.Requested(context.Background(), op))
				synctest.Wait()
				o.stop()
				now := time.Now().Add(step)
				start(t, Config{Dir: dir, Sender: s, Now: func() time.Time { return now }})
				synctest.Wait()
				want := usage.NewEnded(op, lifecycle.Unknown, max(0, now.Sub(op.RequestedAt)), now)
				if got := s.records()[1:]; !equal(got, []usage.Record{want}) {
					t.Errorf("delivered\n%+v\nwant\n%+v", got, want)
				}
			})
		})
	}
}

func wantOnDisk(t *testing.T, o *Outbox, op lifecycle.Operation, outcome lifecycle.Outcome) {
	t.Helper()
	o.mu.Lock()
	number := o.byID[op.ID].number
	o.mu.Unlock()
	r, err := o.store.read(terminalKey(number))
	if err != nil || r.Data.Outcome != outcome {
		t.Errorf("on disk: %+v, %v; want outcome %s", r, err, outcome)
	}
}
