package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// underWay lets so many starts wait for their replies, which are as how says
// once they are released.
func (r *rig) underWay(g *gateway, n int, how platform.Behaviour) (writes []*call, answered *sync.WaitGroup) {
	r.t.Helper()
	how.Names, how.Hold = starts, 1<<20
	r.vmBehaves(how)
	writes, answered = r.together(n, func(int) *call { return r.write(g, start) })
	r.awaitAsked(platform.StartRequest, n)
	return writes, answered
}

// SIGTERM lets the writes under way end: their replies still come in.
func TestStopWaitsForReplies(t *testing.T) {
	rows(t, map[string]kind{"within": within, "process": process}, func(t *testing.T, k kind) {
		r := newRig(t)
		g := r.begin(k, r.home())
		writes, answered := r.underWay(g, 10, platform.Behaviour{})
		g.interrupt()
		require.NotNil(t, g.awaitLog(drainingLine), "not draining")
		r.VM.Release()
		answered.Wait()
		assert.Zero(t, g.wait(), "exit code")
		for _, w := range writes {
			r.want(w, http.StatusAccepted, "")
		}
	})
}

// Replies that do not come within the shutdown time-out are not waited for: the
// callers are told what is not known, and the log has a line for each. The
// process says so by its exit code, and the next one takes their replies.
func TestStopGivesUp(t *testing.T) {
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_VM_SHUTDOWN_TIMEOUT=300ms")
	writes, answered := r.underWay(g, 5, platform.Behaviour{})
	r.Billing.SetBehaviour(platform.Behaviour{Deaf: true})
	var asking *call
	answered.Go(func() { asking = r.write(g, stop) })
	r.await("the question to billing", func(ctx context.Context) error { return r.Billing.WaitAsked(ctx, platform.EntitlementRequest, 6) })
	g.interrupt()
	assert.Equal(t, 1, g.wait(), "exit code:\n%s", g.log)
	answered.Wait()
	for _, w := range writes {
		r.want(w, http.StatusServiceUnavailable, unavailable)
		r.wantAudit(w, "unknown")
	}
	r.want(asking, http.StatusServiceUnavailable, unavailable)
	r.wantAudit(asking, "failed")
	r.begin(within, g.home)
	r.connected()
	r.VM.Release()
	r.wantRecords(writes, "finished", "accepted")
}

// wantAudit wants the log to say how a write ended.
func (r *rig) wantAudit(c *call, result string) {
	r.t.Helper()
	c.gateway.wantLog(fmt.Sprintf("msg=audit request_id=%s subject=%s action=%s result=%s ", c.requestID, c.account, c.action, result))
}

// stopRuns is how many seeded runs `go test` makes; see killRuns.
const stopRuns = 10

// TestStopAtAnyMoment sends SIGTERM under traffic, in a world with a random
// fault, with more or less time to finish. Every caller that could connect is
// answered, and every write that was begun has one line in the log, whatever
// its result. The rig's check then verifies every guarantee.
func TestStopAtAnyMoment(t *testing.T) { seeded(t, stopRuns, 2, stopping) }

func stopping(w world) {
	life := time.Duration(w.dice.Int64N(int64(300 * time.Millisecond)))
	limit := []string{"10ms", "100ms", "400ms", "20s"}[w.dice.IntN(4)]
	w.t.Logf("stopped after %v, within %s", life, limit)
	g := w.begin(process, w.home, append(w.settings, "BUS_VM_SHUTDOWN_TIMEOUT="+limit)...)
	end := w.callers(g)
	time.Sleep(life) // the moment is the fault itself
	g.interrupt()
	code := g.wait()
	end()
	assert.True(w.t, code == 0 || code == 1 && limit != "20s", "exit code %d:\n%s", code, g.log)
	w.wantAudits(g)
	g.killed.Store(true) // what came after it is not counted
}

// wantAudits wants one line for each write that g answered or published, and an
// answer for each call that came before it was gone.
func (r *rig) wantAudits(g *gateway) {
	r.t.Helper()
	published := r.publishedWrites()
	log := g.log.all()
	for _, c := range r.book.writes {
		if c.gateway != g {
			continue
		}
		lines := strings.Count(log, "msg=audit request_id="+c.requestID+" ")
		wanted := c.err == nil || published[c.requestID]
		assert.True(r.t, lines == 1 || lines == 0 && !wanted, "%d lines for %s", lines, c)
	}
	for _, c := range slices.Concat(r.book.writes, r.book.reads) {
		if c.gateway == g && c.err != nil && !errors.Is(c.err, syscall.ECONNREFUSED) {
			r.t.Errorf("not answered: %s", c)
		}
	}
}
