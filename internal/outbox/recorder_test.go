package outbox

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// slowDisk holds commits back until it is told to go on.
type slowDisk chan struct{}

func (d slowDisk) attach(o *Outbox) {
	update := o.store.update
	o.store.update = func(f func(*bbolt.Tx) error) error {
		<-d
		return update(f)
	}
}

func startSlow(t *testing.T, config Config) (*running, slowDisk) {
	t.Helper()
	d := make(slowDisk)
	return start(t, config, d.attach), d
}

func TestCancelledBeforeTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o, proceed := startSlow(t, Config{Dir: t.TempDir(), Sender: s, MaxRecords: 4})
		first := make(chan error, 1)
		one := newOperation()
		go func() { first <- o.Requested(context.Background(), one) }()
		synctest.Wait()

		// The writer is busy with the first, so this one is in the queue.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		op := newOperation()
		require.ErrorIs(t, o.Requested(ctx, op), context.DeadlineExceeded)
		assert.Equal(t, 2, o.Stats().Records)
		close(proceed)
		require.NoError(t, <-first)
		// It left nothing: the same operation may be asked for again.
		o.pair(op, lifecycle.Accepted)
		require.NoError(t, o.Ended(one, lifecycle.Accepted, 0))
		synctest.Wait()
		checkPairs(t, s, []lifecycle.Operation{one, op})
		assert.Len(t, s.records(), 4)
	})
}

func TestCancelledDuringTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o, proceed := startSlow(t, Config{Dir: t.TempDir(), Sender: s})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		op := newOperation()
		require.ErrorIs(t, o.Requested(ctx, op), context.DeadlineExceeded)
		close(proceed)
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, notSentEvent)
		assert.Zero(t, o.Stats(), "left over")
	})
}

func TestCancelledAlready(t *testing.T) {
	o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, o.Requested(ctx, newOperation()), context.Canceled)
	assert.Zero(t, o.Stats(), "left over")
}

// A disk that hangs is no reason to hang with it.
func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o, proceed := startSlow(t, Config{Dir: t.TempDir(), Sender: s})
		op := newOperation()
		go func() { proceed <- struct{}{} }()
		require.NoError(t, o.Requested(t.Context(), op))
		begin := time.Now()
		assert.ErrorIs(t, o.Ended(op, lifecycle.Accepted, 0), ErrCannotWrite)
		assert.Equal(t, endedWait, time.Since(begin))
		assert.ErrorIs(t, o.Healthy(), ErrCannotWrite)
		close(proceed)
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
		assert.NoError(t, o.Healthy(), "Healthy afterwards")
	})
}

func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{err: errDown}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, MaxRecords: 5})
		one, two, three := newOperation(), newOperation(), newOperation()
		requested := func(op lifecycle.Operation, want error) {
			t.Helper()
			require.ErrorIs(t, o.Requested(t.Context(), op), want)
		}
		requested(one, nil)
		requested(two, nil)
		// One place is free, but an operation needs two: its end must find room.
		requested(three, ErrFull)
		assert.NoError(t, o.Healthy(), "a full outbox is not a broken one")
		for _, op := range []lifecycle.Operation{one, two} {
			assert.NoError(t, o.Ended(op, lifecycle.Accepted, 0), "no room for the end of an operation")
		}
		requested(three, ErrFull)
		assert.EqualValues(t, 2, o.count.full.Get())
		g.set(nil)
		after(time.Minute)
		requested(three, nil)
		require.NoError(t, o.Ended(three, lifecycle.Accepted, 0))
		synctest.Wait()
		checkPairs(t, s, []lifecycle.Operation{one, two, three})
	})
}

func TestClosed(t *testing.T) {
	o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)})
	op := newOperation()
	require.NoError(t, o.Requested(t.Context(), op))
	o.stop()
	for name, err := range map[string]error{
		"Requested": o.Requested(context.Background(), newOperation()),
		"Ended":     o.Ended(op, lifecycle.Accepted, 0),
		"Healthy":   o.Healthy(),
		"Run":       o.Run(context.Background()),
	} {
		assert.ErrorIs(t, err, ErrClosed, name)
	}
	assert.NoError(t, o.Close(), "Close after Run")
}

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
				assert.Equal(t, []usage.Record{want}, s.records()[1:])
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
	assert.NoError(t, err)
	assert.Equal(t, outcome, r.Data.Outcome, "on disk")
}
