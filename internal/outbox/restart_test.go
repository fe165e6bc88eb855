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

// What a process leaves behind, in every state, is delivered by the next one,
// and by the one after it when that one does not get to it.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := &gate{}
		s := newSink(g.answer)
		o := start(t, Config{Dir: dir, Sender: s, LateReply: lateReply})
		var ops []lifecycle.Operation
		begin := func() lifecycle.Operation {
			op := newOperation()
			ops = append(ops, op)
			require.NoError(t, o.Requested(t.Context(), op))
			return op
		}
		end := func(op lifecycle.Operation, outcome lifecycle.Outcome) {
			require.NoError(t, o.Ended(op, outcome, time.Second))
		}
		open, held := begin(), begin()
		end(held, lifecycle.Unknown)
		synctest.Wait()
		g.set(errDown)
		openUnsent, endedUnsent, heldUnsent := begin(), begin(), begin()
		end(endedUnsent, lifecycle.Accepted)
		end(heldUnsent, lifecycle.Unknown)
		o.stop()
		died := time.Now()

		// This one closes what is open, and does not get to deliver.
		time.Sleep(time.Minute)
		o = start(t, Config{Dir: dir, Sender: s, LateReply: lateReply})
		synctest.Wait()
		closed := time.Now()
		assert.Equal(t, 8, o.Stats().Records)
		o.stop()

		time.Sleep(time.Minute)
		g.set(nil)
		o = start(t, Config{Dir: dir, Sender: s, LateReply: lateReply})
		synctest.Wait()
		checkPairs(t, s, ops)
		assert.Zero(t, o.Stats(), "left over")
		want := map[string]usage.Record{}
		ended := func(outcome lifecycle.Outcome, took time.Duration, at time.Time, ops ...lifecycle.Operation) {
			for _, op := range ops {
				r := usage.NewEnded(op, outcome, took, at)
				want[r.EventID] = r
			}
		}
		ended(lifecycle.Unknown, closed.Sub(died), closed, open, openUnsent)
		ended(lifecycle.Unknown, time.Second, died, held, heldUnsent)
		ended(lifecycle.Accepted, time.Second, died, endedUnsent)
		for _, got := range s.records() {
			if w, ended := want[got.EventID]; ended {
				assert.Equal(t, w, got)
			}
		}
	})
}

// Requests that come before Run wait for it.
func TestRequestedBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		done := make(chan error, 1)
		start(t, Config{Dir: t.TempDir(), Sender: s}, func(o *Outbox) {
			go func() { done <- o.Requested(context.Background(), newOperation()) }()
			synctest.Wait()
		})
		require.NoError(t, <-done)
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent)
	})
}

// Everyone who waits when the process stops gets an answer, and a nil is kept.
func TestStopAnswersEverybody(t *testing.T) {
	dir, s := t.TempDir(), newSink(nil)
	o := start(t, Config{Dir: dir, Sender: s})
	type answer struct {
		op  lifecycle.Operation
		err error
	}
	answers := make(chan answer)
	const callers = 50
	for range callers {
		go func() {
			for {
				op := newOperation()
				err := o.Requested(context.Background(), op)
				answers <- answer{op, err}
				if err != nil {
					return
				}
			}
		}()
	}
	var kept []lifecycle.Operation
	for closed := 0; closed < callers; {
		a := <-answers
		if a.err != nil {
			closed++
			continue
		}
		if kept = append(kept, a.op); len(kept) == 100 {
			go o.stop()
		}
	}
	o.stop()
	o = start(t, Config{Dir: dir, Sender: s})
	s.await(t, 2*len(kept))
	checkPairs(t, s, kept)
}
