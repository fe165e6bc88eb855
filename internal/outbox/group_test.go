package outbox

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// syncTime is what a commit takes in these tests.
const syncTime = time.Millisecond

func withSyncTime(o *Outbox) {
	update := o.store.update
	o.store.update = func(f func(*bbolt.Tx) error) error {
		time.Sleep(syncTime)
		return update(f)
	}
}

func TestConcurrentWritersShareCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers, each = 200, 5
		s := newSink(nil)
		o := start(t, Config{Dir: t.TempDir(), Sender: s}, withSyncTime)
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range each {
					o.pair(newOperation(), lifecycle.Accepted)
				}
			})
		}
		all.Wait()
		assert.Less(t, float64(o.count.commits.Get())/(writers*each), 0.1, "commits a write")
		s.await(t, 2*writers*each)
	})
}

// Writers that arrive one after the other share commits too.
func TestCrowdIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			writers, each = 200, 5
			work          = 50 * time.Millisecond
		)
		o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)}, withSyncTime)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				time.Sleep(work * time.Duration(i) / writers)
				for range each {
					op, begin := newOperation(), time.Now()
					assert.NoError(t, o.Requested(t.Context(), op))
					time.Sleep(work)
					assert.NoError(t, o.Ended(op, lifecycle.Accepted, work))
					assert.LessOrEqual(t, time.Since(begin)-work, 2*(gatherFor+2*syncTime), "the two records took long")
				}
			})
		}
		all.Wait()
		assert.Less(t, float64(o.count.commits.Get())/(writers*each), 0.1, "commits a write")
		assert.Zero(t, o.open, "operations that count as open")
	})
}

func TestLoneWriterWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := start(t, Config{Dir: t.TempDir(), Sender: newSink(nil)}, withSyncTime)
		for range 10 {
			begin := time.Now()
			o.pair(newOperation(), lifecycle.Accepted)
			assert.Equal(t, 2*syncTime, time.Since(begin), "a lone write is two commits")
			time.Sleep(time.Second) // the acknowledgements have a commit of their own
		}
	})
}

func TestOldestFirst(t *testing.T) {
	dir, ops := backlog(t, 2*maxSending)
	synctest.Test(t, func(t *testing.T) {
		first := make(chan usage.Record, 4*maxSending)
		start(t, Config{Dir: dir, Sender: newSink(func(ctx context.Context, r usage.Record) error {
			first <- r
			<-ctx.Done()
			return ctx.Err()
		})})
		synctest.Wait()
		want := map[string]bool{}
		for _, op := range ops[:maxSending] {
			want[usage.EventID(op.ID, usage.PhaseRequested)] = true
		}
		for range len(first) {
			r := <-first
			assert.True(t, want[r.EventID], "%+v was sent before older ones, or twice", r)
			delete(want, r.EventID)
		}
		assert.Empty(t, want, "the oldest that were not sent")
	})
}
