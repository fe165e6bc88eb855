package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What the contract says of a publish without a clear answer (§4): a reply is
// waited for this long, and the write stays open for a late one.
const doubtfulWait = 2 * time.Second

// soon is how long a write may take that waits for nothing, on a busy machine.
// It is below unhurried.
const soon = 20 * time.Second

// wantTook wants a call to have taken no less and no longer.
func (r *rig) wantTook(c *call, least, most time.Duration) {
	r.t.Helper()
	assert.True(r.t, least <= c.took() && c.took() <= most, "%s: took %v, want %v to %v", c, c.took(), least, most)
}

// An API that closes idle connections, as servers and proxies do, costs no
// write: nothing is published into a connection that its server has closed.
// Over TLS the close is preceded by a close_notify, which is data on the socket.
// The gateway is a process: another's roots of trust cannot be set here.
func TestIdleConnectionsAreClosed(t *testing.T) {
	rows(t, map[string]bool{"TLS": true, "in clear": false}, func(t *testing.T, secured bool) {
		r := newRigOf(t, platform.Config{TLS: secured, IdleTimeout: 50 * time.Millisecond})
		g := r.begin(process, r.home(), "BUS_VM_TIMEOUT=3s")
		r.connected()
		for i := range 3 {
			r.wantWrite(g, []string{start, stop}[i%2], http.StatusAccepted, "")
			g.awaitDelivered()
			r.await("the end of idle connections", r.Events.WaitOnlyStreams)
		}
		r.want(r.read(g), http.StatusOK, "")
		r.wantWrite(g, start, http.StatusAccepted, "")
	})
}

// A refusal is one whatever headers come with it, up to 64 KiB of them: the
// write is answered at once, and nothing was done.
func TestRefusalWithLargeHeaders(t *testing.T) {
	type row struct{ status, size int }
	each(t, []row{
		{http.StatusBadRequest, 6 << 10}, {http.StatusBadRequest, 60 << 10}, {http.StatusForbidden, 6 << 10}, {http.StatusForbidden, 60 << 10},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		// A static token that is refused would end the process.
		g := r.gateway("BUS_EVENTS_TOKEN_REFRESH=1")
		refused := platform.Faults{Names: starts, PublishStatus: c.status, HeaderBytes: c.size}
		r.Events.SetFaults(refused)
		w := r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, notSent)
		r.wantTook(w, 0, soon)
		r.wantRecord(w, "failed", notSent)
		// An acceptance with them is one as well.
		r.Events.SetFaults(platform.Faults{Names: refused.Names, HeaderBytes: c.size})
		r.wantWrite(g, start, http.StatusAccepted, "")
		// Billing's request is published in the same way.
		refused.Names = []string{platform.EntitlementRequest}
		r.Events.SetFaults(refused)
		r.wantTook(r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, notSent), 0, soon)
	})
}

// wantOutcome wants a write to have failed so, and to say what became of it in
// error.outcome.
func (r *rig) wantOutcome(c *call, status int, kind, outcome string) *call {
	r.t.Helper()
	r.want(c, status, kind)
	assert.Equal(r.t, outcome, c.failure().Outcome, c)
	return c
}

// A reply counts when it is there, however long the publish itself waits for
// its answer.
func TestReplyOvertakesThePublish(t *testing.T) {
	const delay = 6 * time.Second
	refusing := refuses(platform.EventError{Code: "no_capacity", Message: "none left"})
	type row struct {
		request   string
		behaviour platform.Behaviour
		status    int
		kind      string
	}
	rows(t, map[string]row{
		"the worker accepts": {platform.StartRequest, platform.Behaviour{}, http.StatusAccepted, ""},
		"the worker refuses": {platform.StartRequest, refusing, http.StatusBadGateway, "no_capacity"},
		"billing allows":     {platform.EntitlementRequest, platform.Behaviour{}, http.StatusAccepted, ""},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway()
		r.vmBehaves(toStarts(c.behaviour))
		r.Events.SetFaults(platform.Faults{Names: []string{c.request}, AnswerDelay: delay})
		r.wantTook(r.wantWrite(g, start, c.status, c.kind), 0, delay/2)
		r.Events.SetFaults(platform.Faults{Names: []string{platform.StatusRequest}, AnswerDelay: delay})
		r.wantTook(r.want(r.read(g), http.StatusOK, ""), 0, delay/2)
	})
}

// A 5xx to a publish does not say that nothing was done: proxies answer so to
// what they have passed on.
func TestPublishAnsweredByAProxy(t *testing.T) {
	type row struct {
		status int
		late   bool // the reply comes after the answer
	}
	each(t, []row{
		{500, false}, {502, false}, {503, false}, {504, false}, {524, false},
		{500, true}, {502, true}, {503, true}, {504, true}, {524, true},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway("BUS_VM_TIMEOUT=1m", "BUS_VM_LATE_REPLY=20s")
		r.Events.SetFaults(platform.Faults{Names: starts, AnswerStatus: c.status})
		if !c.late {
			r.vmBehaves(platform.Behaviour{Names: starts, Delay: 100 * time.Millisecond})
			r.wantRecord(r.wantWrite(g, start, http.StatusAccepted, ""), "finished", "accepted")
			return
		}
		r.vmBehaves(platform.Behaviour{Names: starts, Hold: 1 << 20})
		w := r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, unknown)
		r.wantTook(w, doubtfulWait/2, doubtfulWait+soon)
		r.awaitAsked(platform.StartRequest, 1)
		r.VM.Release()
		r.wantRecord(w, "finished", "accepted")
	})
}
