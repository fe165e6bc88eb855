package outbox

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// faultyDisk makes commits fail while it is told to. A commit that fails late
// is in the file all the same, as after a failed last sync.
type faultyDisk struct {
	mu   sync.Mutex
	err  error
	late bool
}

func (d *faultyDisk) attach(o *Outbox) {
	update := o.store.update
	o.store.update = func(f func(*bbolt.Tx) error) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.err != nil && !d.late {
			return d.err
		}
		return errors.Join(update(f), d.err)
	}
}

func startFaulty(t *testing.T, config Config, prepare ...func(*Outbox)) (*running, *faultyDisk) {
	t.Helper()
	d := &faultyDisk{}
	return start(t, config, append([]func(*Outbox){d.attach}, prepare...)...), d
}

func (d *faultyDisk) set(err error, late bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.late = err, late
}

// fill makes the disk full, or gives it room again.
func (d *faultyDisk) fill(full bool) {
	d.set(nil, false)
	if full {
		d.set(syscall.ENOSPC, false)
	}
}

// eachFault runs f in a bubble for each way in which a disk fails.
func eachFault(t *testing.T, f func(t *testing.T, err error, late bool)) {
	for name, fault := range map[string]struct {
		err  error
		late bool
	}{
		"full":                    {syscall.ENOSPC, false},
		"failed before the sync":  {syscall.EIO, false},
		"failed in the last sync": {syscall.EIO, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, fault.err, fault.late) })
		})
	}
}

// What callers are told while the disk fails, and that all of it recovers.
func TestDiskFails(t *testing.T) {
	eachFault(t, func(t *testing.T, fault error, late bool) {
		s := newSink(nil)
		o, disk := startFaulty(t, Config{Dir: t.TempDir(), Sender: s, LateReply: lateReply})
		ended, held, refused := newOperation(), newOperation(), newOperation()
		require.NoError(t, o.Requested(t.Context(), held))
		require.NoError(t, o.Ended(held, lifecycle.Unknown, 0))
		require.NoError(t, o.Requested(t.Context(), ended))
		synctest.Wait() // delivered, and not deleted yet
		disk.set(fault, late)
		wantCannotWrite(t, fault, "the first Requested", o.Requested(t.Context(), refused))
		wantCannotWrite(t, fault, "Requested", o.Requested(t.Context(), refused))
		wantCannotWrite(t, fault, "Ended", o.Ended(ended, lifecycle.Accepted, 0))
		wantCannotWrite(t, fault, "Ended of a held one", o.Ended(held, lifecycle.Accepted, 0))
		wantCannotWrite(t, fault, "Healthy", o.Healthy())
		after(2 * lateReply)
		wantEvents(t, s.records(), requestedEvent, requestedEvent)
		wantCannotWrite(t, fault, "Healthy after a while", o.Healthy())

		disk.set(nil, false)
		after(probeEvery)
		assert.NoError(t, o.Healthy(), "not healthy with a healthy disk")
		checkPairs(t, s, []lifecycle.Operation{ended, held})
		wantEvents(t, s.records()[2:], finishedEvent, finishedEvent)

		// An end fails together with its commit instead of finding a broken outbox.
		last := newOperation()
		require.NoError(t, o.Requested(t.Context(), last))
		synctest.Wait()
		disk.set(fault, late)
		wantCannotWrite(t, fault, "Ended", o.Ended(last, lifecycle.Accepted, time.Second))
		disk.set(nil, false)
		after(probeEvery)
		wantEvents(t, s.records()[4:], requestedEvent, finishedEvent)
		after(time.Minute)
		wantRows(t, o, 0, 0)
		assert.Zero(t, o.Stats(), "left over")
	})
}

// What a failed commit left in the file is an operation whose caller was
// refused: the process may die before the disk heals.
func TestDiskFailsAndProcessDies(t *testing.T) {
	eachFault(t, func(t *testing.T, fault error, late bool) {
		dir, s := t.TempDir(), newSink(nil)
		o, disk := startFaulty(t, Config{Dir: dir, Sender: s})
		op, refused := newOperation(), newOperation()
		require.NoError(t, o.Requested(t.Context(), op))
		synctest.Wait()
		disk.set(fault, late)
		wantCannotWrite(t, fault, "Requested", o.Requested(t.Context(), refused))
		wantCannotWrite(t, fault, "Ended", o.Ended(op, lifecycle.Accepted, 0))
		o.stop()

		start(t, Config{Dir: dir, Sender: s})
		after(time.Second)
		// The acknowledgement of the first delivery could not be written
		// either, so it comes again.
		want := []string{requestedEvent, requestedEvent, unknownEvent}
		if late {
			// The stop's last try is in the file, though its sync failed.
			want = []string{requestedEvent, finishedEvent}
		}
		wantEvents(t, s.records(), want...)
	})
}

func TestCancelledDuringAFailingCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		proceed := make(slowDisk)
		o, disk := startFaulty(t, Config{Dir: t.TempDir(), Sender: s}, proceed.attach)
		disk.set(syscall.EIO, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, o.Requested(ctx, newOperation()), context.DeadlineExceeded)
		proceed <- struct{}{}
		synctest.Wait()
		disk.set(nil, false)
		close(proceed)
		after(time.Minute)
		wantEvents(t, s.records())
		wantRows(t, o, 0, 0)
		assert.Zero(t, o.Stats(), "left over")
	})
}

// Those who queue behind a commit that fails are not left waiting for a disk
// that may take hours.
func TestQueueBehindAFailingCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		proceed := make(slowDisk)
		o, disk := startFaulty(t, Config{Dir: t.TempDir(), Sender: s}, proceed.attach)
		disk.set(syscall.EIO, false)
		answers := make(chan error, 3)
		for range cap(answers) {
			go func() { answers <- o.Requested(context.Background(), newOperation()) }()
			synctest.Wait()
		}
		proceed <- struct{}{}
		synctest.Wait()
		for range cap(answers) {
			select {
			case err := <-answers:
				wantCannotWrite(t, syscall.EIO, "Requested", err)
			default:
				t.Error("a caller still waits")
			}
		}
		disk.set(nil, false)
		close(proceed)
		after(time.Minute)
		wantEvents(t, s.records())
		wantRows(t, o, 0, 0)
	})
}

// The disk of one side and the usage integration of the other fail together:
// what is on disk is delivered when the integration is back, disk or no disk.
func TestDeliveryGoesOnWithoutTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{err: errDown}
		s := newSink(g.answer)
		o, disk := startFaulty(t, Config{Dir: t.TempDir(), Sender: s})
		op := newOperation()
		require.NoError(t, o.Requested(t.Context(), op))
		synctest.Wait()
		disk.set(syscall.ENOSPC, false)
		wantCannotWrite(t, syscall.ENOSPC, "Ended", o.Ended(op, lifecycle.Accepted, 0))
		g.set(nil)
		after(time.Minute)
		wantEvents(t, s.records(), requestedEvent)
		disk.set(nil, false)
		after(probeEvery)
		wantEvents(t, s.records(), requestedEvent, finishedEvent)
	})
}

// A panic of bbolt is damage found at run time: Run ends, no caller hangs.
func TestDamageWhileRunning(t *testing.T) {
	o := mustOpen(t, Config{Dir: t.TempDir(), Sender: newSink(nil)})
	o.store.update = func(func(*bbolt.Tx) error) error { panic("page 7 already freed") }
	done := make(chan error, 1)
	go func() { done <- o.Run(context.Background()) }()
	assert.ErrorIs(t, o.Requested(t.Context(), newOperation()), ErrCannotWrite)
	assert.ErrorIs(t, <-done, errDamaged)
	assert.Error(t, o.Healthy(), "healthy with a damaged file")
	assert.NoError(t, o.release())
}

func wantCannotWrite(t *testing.T, cause error, what string, err error) {
	t.Helper()
	assert.ErrorIs(t, err, ErrCannotWrite, what)
	assert.ErrorIs(t, err, cause, what)
}
