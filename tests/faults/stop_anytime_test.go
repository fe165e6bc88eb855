package faults

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopRuns is how many seeded runs `go test` makes; see killRuns.
const stopRuns = 10

// TestStopAtAnyMoment sends SIGTERM under traffic, in a world with a random
// fault, with more or less time to finish. Every caller that could connect is
// answered, and every write that was begun has one line in the log, whatever
// its result. The rig's check then verifies every guarantee.
func TestStopAtAnyMoment(t *testing.T) {
	t.Parallel()
	seeded(t, stopRuns, stopping)
}

func stopping(t *testing.T, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 0))
	r := newSeededRig(t, seed)
	home := r.home()
	settings := []string{"BUS_VM_TIMEOUT=2s", "BUS_VM_LATE_REPLY=500ms"}
	for range 1 + dice.IntN(2) {
		fault := odds[dice.IntN(len(odds))]
		life := time.Duration(dice.Int64N(int64(300 * time.Millisecond)))
		waitLimit := []string{"10ms", "100ms", "400ms", "20s"}[dice.IntN(4)]
		callers := 1 + dice.IntN(10)
		t.Logf("%s, %d callers, stopped after %v, within %s", fault.name, callers, life, waitLimit)
		fault.begin(r)
		g := r.launch(process, home, append(settings, "BUS_VM_SHUTDOWN_TIMEOUT="+waitLimit)...)
		if !g.serving() {
			t.Fatalf("it ended by itself:\n%s", g.log)
		}
		tr := r.callersAt([]time.Duration{steady, hectic}[dice.IntN(2)], g, callers)
		timer := time.NewTimer(life)
		<-timer.C
		g.interrupt()
		code := g.wait()
		tr.end()
		if code != 0 && (code != 1 || waitLimit == "20s") {
			t.Errorf("exit code %d:\n%s", code, tail(g.log.String()))
		}
		r.wantAudits(g)
		g.killed.Store(true) // what came after it is not counted
		r.heal()
		if fault.after != nil {
			fault.after(r)
		}
	}
	r.back(r.begin(process, home, settings...))
	r.onlyStatuses(0, http.StatusAccepted, http.StatusServiceUnavailable, http.StatusBadGateway)
}

// wantAudits wants one line for each write that g answered or published, and an
// answer for each call that came before it was gone.
func (r *rig) wantAudits(g *gateway) {
	r.t.Helper()
	published := map[string]bool{}
	for _, e := range r.lifecyclePublishes() {
		published[e.RequestID] = true
	}
	log := g.log.String()
	for _, c := range r.book.writes {
		if c.gateway != g {
			continue
		}
		lines := strings.Count(log, "msg=audit request_id="+c.requestID+" ")
		if wanted := c.err == nil || published[c.requestID]; wanted && lines != 1 || lines > 1 {
			r.t.Errorf("%d lines for %s", lines, c)
		}
	}
	for _, c := range slices.Concat(r.book.writes, r.book.reads) {
		if c.gateway == g && c.err != nil && !errors.Is(c.err, syscall.ECONNREFUSED) {
			r.t.Errorf("not answered: %s", c)
		}
	}
}
