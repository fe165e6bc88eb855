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
		if took := time.Since(begin); took != endedWait {
			t.Errorf("Ended took %s, want %s", took, endedWait)
		}
		assert.ErrorIs(t, o.Healthy(), ErrCannotWrite)
		close(proceed)
		synctest.Wait()
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
		assert.NoError(t, o.Healthy(), "Healthy afterwards")
	})
}
