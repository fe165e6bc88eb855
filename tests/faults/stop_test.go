package faults

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// underWay lets so many starts wait for their replies.
func (r *rig) underWay(g *gateway, n int) (writes []*call, answered *sync.WaitGroup) {
	r.t.Helper()
	r.vmBehaves(platform.Behaviour{Names: []string{platform.StartRequest}, Hold: 1 << 20})
	writes, answered = make([]*call, n), &sync.WaitGroup{}
	for i := range writes {
		answered.Go(func() { writes[i] = r.write(g, start) })
	}
	r.await("starts", func(ctx context.Context) error { return r.VM.WaitAsked(ctx, platform.StartRequest, n) })
	return writes, answered
}

// SIGTERM lets the writes under way end: their replies still come in.
func TestStopWaitsForReplies(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"within": within, "process": process} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.begin(k, r.home())
			writes, answered := r.underWay(g, 10)
			g.interrupt()
			ctx, cancel := patiently()
			defer cancel()
			if g.log.await(ctx, g.ended, drainingLine) == nil {
				t.Fatal("not draining")
			}
			r.VM.Release()
			answered.Wait()
			if code := g.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, w := range writes {
				r.want(w, http.StatusAccepted, "")
			}
		})
	}
}

// Replies that do not come within the shutdown time-out are not waited for. The
// process says so by its exit code, and the next one closes the records.
func TestStopGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_VM_SHUTDOWN_TIMEOUT=300ms")
	g.killed.Store(true) // calls may go without an answer
	writes, answered := r.underWay(g, 5)
	g.interrupt()
	if code := g.wait(); code != 1 {
		t.Errorf("exit code %d, want 1:\n%s", code, g.log)
	}
	answered.Wait()
	r.begin(within, g.home)
	r.wantRecords(writes, "failed", "unknown")
}
