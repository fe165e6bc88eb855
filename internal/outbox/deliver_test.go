package outbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

func TestDeliversWhatWasRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := start(t, Config{Dir: t.TempDir(), Sender: s})
		op := newOperation()
		require.NoError(t, o.Requested(t.Context(), op))
		synctest.Wait()
		time.Sleep(3 * time.Second)
		require.NoError(t, o.Ended(op, lifecycle.Accepted, 3*time.Second))
		synctest.Wait()
		want := []usage.Record{
			usage.NewRequested(op),
			usage.NewEnded(op, lifecycle.Accepted, 3*time.Second, time.Now()),
		}
		require.Equal(t, want, s.records())
		assert.Zero(t, o.Stats(), "left over")
		after(settleAfter)
		wantRows(t, o, 0, 0)
	})
}

// The clocks of a failure are real durations of the bubble: what is asserted
// is who is tried when.
func TestOutageKeepsOrderAndBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{err: errDown}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, RetryMin: time.Second, RetryMax: 30 * time.Second})
		ops := o.pairs(100)
		after(time.Hour)
		// One attempt at a time, at most RetryMax apart, at least half of it
		// once the pause has grown; the first round may be up to maxSending.
		assert.GreaterOrEqual(t, s.tries, 120)
		assert.LessOrEqual(t, s.tries, 240+maxSending)
		assert.Equal(t, 200, o.Stats().Records)
		assert.GreaterOrEqual(t, o.Stats().OldestAge, time.Hour)
		g.set(nil)
		after(2 * time.Minute)
		checkPairs(t, s, ops)
	})
}

func TestPoisonedRecordDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poisoned := newOperation()
		id := usage.EventID(poisoned.ID, usage.PhaseRequested)
		s := newSink(func(_ context.Context, r usage.Record) error {
			if r.EventID == id {
				return errDown
			}
			return nil
		})
		o := start(t, Config{Dir: t.TempDir(), Sender: s, RetryMin: 100 * time.Millisecond, RetryMax: 10 * time.Second})
		o.pair(poisoned, lifecycle.Accepted)
		synctest.Wait()
		var ops []lifecycle.Operation
		for range 300 {
			op := newOperation()
			ops = append(ops, op)
			o.pair(op, lifecycle.Accepted)
			time.Sleep(100 * time.Millisecond)
		}
		after(time.Second)
		checkPairs(t, s, ops)
		assert.Equal(t, 2, o.Stats().Records)
		assert.InDelta(t, 10, o.count.retries.Get(), 5, "attempts at the poisoned record in 31 s: the delay grows")
	})
}

func TestRefusedRecordsAreParked(t *testing.T) {
	refuse := fmt.Errorf("%w: account closed", usage.ErrRefused)
	for name, c := range map[string]struct {
		refuses func(usage.Record) bool
		want    []string
		parked  int
	}{
		"requested": {func(r usage.Record) bool { return r.Data.Outcome == "" }, []string{finishedEvent}, 1},
		"terminal":  {func(r usage.Record) bool { return r.Data.Outcome != "" }, []string{requestedEvent}, 1},
		"both":      {func(usage.Record) bool { return true }, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSink(func(_ context.Context, r usage.Record) error {
					if c.refuses(r) {
						return refuse
					}
					return nil
				})
				dir := t.TempDir()
				o := start(t, Config{Dir: dir, Sender: s})
				o.pair(newOperation(), lifecycle.Accepted)
				after(time.Minute)
				wantEvents(t, s.records(), c.want...)
				assert.Equal(t, Stats{Records: c.parked, Parked: c.parked}, o.Stats())
				assert.Equal(t, 2, s.tries, "one attempt a record")
				wantRows(t, o, 0, c.parked)
				o.stop()

				// The next start offers them again, and an integration that has
				// come to its senses gets them.
				s.answer, s.taken = nil, nil
				o = start(t, Config{Dir: dir, Sender: s})
				after(time.Second)
				assert.Equal(t, c.parked, len(s.records()))
				wantRows(t, o, 0, 0)
			})
		})
	}
}

func TestSendsSeveralOperationsAtATimeAndBoundsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		s := newSink(func(context.Context, usage.Record) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		})
		o := start(t, Config{Dir: t.TempDir(), Sender: s})
		ops := o.pairs(3 * maxSending)
		after(10 * time.Second)
		assert.Equal(t, maxSending, most, "at a time")
		checkPairs(t, s, ops)
	})
}

func TestStopCutsASendShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(func(ctx context.Context, _ usage.Record) error {
			<-ctx.Done()
			return ctx.Err()
		})
		dir := t.TempDir()
		o := start(t, Config{Dir: dir, Sender: s})
		op := newOperation()
		o.pair(op, lifecycle.Accepted)
		synctest.Wait()
		o.stop()
		assert.EqualValues(t, 0, o.count.retries.Get())
		s.answer = nil
		start(t, Config{Dir: dir, Sender: s})
		synctest.Wait()
		checkPairs(t, s, []lifecycle.Operation{op})
	})
}

// steady is an outbox whose delays are not jittered: always the shortest.
func steady(o *Outbox) { o.chance = func() float64 { return 0 } }

// The oldest record fails always and everything pauses with it: the next one
// to be tried has to be another.
func TestPauseOfAllEndsBeforeTheOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poisoned, op := newOperation(), newOperation()
		id := usage.EventID(poisoned.ID, usage.PhaseRequested)
		both := make(chan struct{})
		s := newSink(func(_ context.Context, r usage.Record) error {
			<-both
			if r.EventID == id {
				return errDown
			}
			return nil
		})
		o := start(t, Config{Dir: t.TempDir(), Sender: s, RetryMin: time.Second, RetryMax: time.Second}, steady)
		o.pair(poisoned, lifecycle.Accepted)
		synctest.Wait()
		both <- struct{}{} // the first attempt fails before the other is there
		synctest.Wait()
		close(both)
		o.pair(op, lifecycle.Accepted)
		after(3 * time.Second)
		checkPairs(t, s, []lifecycle.Operation{op})
	})
}

// What was underway together fails together: that is one failure, and the
// pause is the shortest.
func TestOneOutageIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := make(chan struct{})
		var mu sync.Mutex
		var tries []time.Time
		s := newSink(func(context.Context, usage.Record) error {
			mu.Lock()
			tries = append(tries, time.Now())
			first := len(tries) <= maxSending
			mu.Unlock()
			if first {
				<-fail
				return errDown
			}
			return nil
		})
		o := start(t, Config{Dir: t.TempDir(), Sender: s, RetryMin: time.Second, RetryMax: time.Hour}, steady)
		ops := o.pairs(2 * maxSending)
		synctest.Wait()
		failed := time.Now()
		close(fail)
		after(time.Minute)
		checkPairs(t, s, ops)
		if len(tries) <= maxSending {
			t.Fatalf("%d attempts", len(tries))
		}
		if again := slices.MaxFunc(tries, time.Time.Compare).Sub(failed); again > 3*time.Second {
			t.Errorf("the last record went %s after the failure", again)
		}
		assert.Equal(t, time.Second, tries[maxSending].Sub(failed), "the next attempt came ")
	})
}

// The delays of a record start again with the next record of its operation.
func TestAttemptsAreOfARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{err: errDown}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, RetryMin: time.Second, RetryMax: time.Hour}, steady)
		op := newOperation()
		require.NoError(t, o.Requested(t.Context(), op))
		time.Sleep(10 * time.Minute) // the delay has grown to several minutes
		g.set(nil)
		after(time.Hour)
		wantEvents(t, s.records(), requestedEvent)
		g.set(errDown)
		require.NoError(t, o.Ended(op, lifecycle.Accepted, 0))
		synctest.Wait()
		g.set(nil)
		after(3 * time.Second)
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
	})
}

// What is held for long does not stand before what is due soon.
func TestSoonestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		s := newSink(g.answer)
		o := start(t, Config{Dir: t.TempDir(), Sender: s, LateReply: lateReply}, steady)
		o.pair(newOperation(), lifecycle.Unknown)
		synctest.Wait()
		g.set(errDown)
		o.pair(newOperation(), lifecycle.Accepted)
		synctest.Wait()
		g.set(nil)
		after(lateReply / 10)
		wantEvents(t, s.records(), requestedEvent, requestedEvent, finishedEvent)
	})
}
