package faults

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

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
