package outbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// slowDisk holds commits back until it is told to go on.
func slowDisk(o *Outbox) (proceed chan struct{}) {
	proceed = make(chan struct{})
	update := o.store.update
	o.store.update = func(f func(*bbolt.Tx) error) error {
		<-proceed
		return update(f)
	}
	return proceed
}

func TestCancelledBeforeTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := mustOpen(t, Config{Dir: t.TempDir(), Sender: s, MaxRecords: 4})
		proceed := slowDisk(o)
		r := run(t, o)
		first := make(chan error, 1)
		one := newOperation()
		go func() { first <- o.Requested(context.Background(), one) }()
		synctest.Wait()

		// The writer is busy with the first, so this one is in the queue.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		op := newOperation()
		if err := o.Requested(ctx, op); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if got := o.Stats().Records; got != 2 {
			t.Errorf("%d places taken, want those of the first", got)
		}
		close(proceed)
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		// It left nothing: the same operation may be asked for again.
		r.pair(op, lifecycle.Accepted)
		if err := o.Ended(one, lifecycle.Accepted, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		checkPairs(t, s, []lifecycle.Operation{one, op})
		if got := len(s.records()); got != 4 {
			t.Errorf("%d records, want 4", got)
		}
	})
}

func TestCancelledDuringTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := mustOpen(t, Config{Dir: t.TempDir(), Sender: s})
		proceed := slowDisk(o)
		run(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		op := newOperation()
		if err := o.Requested(ctx, op); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		close(proceed)
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, notSentEvent)
		if got := o.Stats(); got != (Stats{}) {
			t.Errorf("left over: %+v", got)
		}
	})
}

func TestCancelledAlready(t *testing.T) {
	o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Requested(ctx, newOperation()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := o.Stats(); got != (Stats{}) {
		t.Errorf("left over: %+v", got)
	}
}

// A disk that hangs is no reason to hang with it.
func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		o := mustOpen(t, Config{Dir: t.TempDir(), Sender: s})
		proceed := slowDisk(o)
		run(t, o)
		op := newOperation()
		go func() { proceed <- struct{}{} }()
		if err := o.Requested(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := o.Ended(op, lifecycle.Accepted, 0); !errors.Is(err, ErrCannotWrite) {
			t.Errorf("Ended: got %v", err)
		}
		if took := time.Since(begin); took != endedWait {
			t.Errorf("Ended took %s, want %s", took, endedWait)
		}
		if err := o.Healthy(); !errors.Is(err, ErrCannotWrite) {
			t.Errorf("Healthy: got %v", err)
		}
		close(proceed)
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
		if err := o.Healthy(); err != nil {
			t.Errorf("Healthy afterwards: %v", err)
		}
	})
}
