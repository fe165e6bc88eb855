package faults

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// underWay lets so many starts wait for their replies, which are as how says
// once they are released.
func (r *rig) underWay(g *gateway, n int, how platform.Behaviour) (writes []*call, answered *sync.WaitGroup) {
	r.t.Helper()
	how.Names, how.Hold = []string{platform.StartRequest}, 1<<20
	r.vmBehaves(how)
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
			writes, answered := r.underWay(g, 10, platform.Behaviour{})
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

// Replies that do not come within the shutdown time-out are not waited for: the
// callers are told what is not known, and the log has a line for each. The
// process says so by its exit code, and the next one closes the records.
func TestStopGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_VM_SHUTDOWN_TIMEOUT=300ms")
	writes, answered := r.underWay(g, 5, platform.Behaviour{})
	r.Billing.SetBehaviour(platform.Behaviour{Deaf: true})
	var asking *call
	answered.Go(func() { asking = r.write(g, stop) })
	r.await("the question to billing", func(ctx context.Context) error { return r.Billing.WaitAsked(ctx, platform.EntitlementRequest, 6) })
	g.interrupt()
	if code := g.wait(); code != 1 {
		t.Errorf("exit code %d, want 1:\n%s", code, g.log)
	}
	answered.Wait()
	for _, w := range writes {
		r.want(w, http.StatusServiceUnavailable, unavailable)
		r.wantAudit(w, "unknown")
	}
	r.want(asking, http.StatusServiceUnavailable, unavailable)
	r.wantAudit(asking, "failed")
	r.begin(within, g.home)
	r.wantRecords(writes, "failed", "unknown")
}

// wantAudit wants the log to say how a write ended.
func (r *rig) wantAudit(c *call, result string) {
	r.t.Helper()
	want := fmt.Sprintf("msg=audit request_id=%s subject=%s action=%s result=%s ", c.requestID, c.account, c.action, result)
	if !containsText(c.gateway.log.String(), want) {
		r.t.Errorf("no line %q in the log:\n%s", want, tail(c.gateway.log.String()))
	}
}
