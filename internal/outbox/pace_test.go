package outbox

import (
	"context"
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
