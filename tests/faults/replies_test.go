package faults

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// worded is a reply payload, and what becomes of the request that it answers.
type worded struct {
	payload string
	status  int
	kind    string
	outcome string // of a failed write; "" is not looked at
}

// Of a lifecycle reply exact member names count, once each; a member of another
// type than expected is ignored where the answer can be told without it.
func TestWordingOfLifecycleReplies(t *testing.T) {
	t.Parallel()
	const malformed = "bad_gateway"
	r := newRig(t)
	g := r.gateway("BUS_VM_LATE_REPLY=100ms")
	for _, c := range []worded{
		{`{"accepted":false,"accepted":true}`, 502, malformed, unknown},
		{`{"accepted":true,"accepted":false}`, 502, malformed, unknown},
		{`{"accepted":true,"accepted":true}`, 502, malformed, unknown},
		{`{"accepted":true,"\u0061ccepted":false}`, 502, malformed, unknown},
		{`{"ACCEPTED":true}`, 502, malformed, unknown},
		{`{"Accepted":true}`, 502, malformed, unknown},
		{`{"State":"ready"}`, 502, malformed, unknown},
		{`{"ſtate":"ready"}`, 502, malformed, unknown},
		{`{"state":"ready","state":"ready"}`, 502, malformed, unknown},
		{`{"status":{"state":"failed","state":"ready"}}`, 502, malformed, unknown},
		{`{"status":{"state":"failed"},"status":{"state":"ready"}}`, 502, malformed, unknown},
		{`{"Status":{"state":"ready"}}`, 502, malformed, unknown},
		{`{"accepted":true,"error":"no","error":null}`, 502, malformed, unknown},
		{`{"accepted":"true"}`, 502, malformed, unknown},

		{`{"accepted":true,"status":"starting"}`, 202, "", ""},
		{`{"accepted":true,"status":[1]}`, 202, "", ""},
		{`{"accepted":true,"state":7}`, 202, "", ""},
		{`{"accepted":true,"message":{}}`, 202, "", ""},
		{`{"accepted":true,"Accepted":false}`, 202, "", ""},
		{`{"accepted":true,"Error":"no"}`, 202, "", ""},
		{`{"state":"ready","status":"ok"}`, 202, "", ""},
		{`{"state":"ready","provider":7,"details":"text"}`, 202, "", ""},

		{`{"accepted":false,"Accepted":true}`, 502, "bad_gateway", rejected},
		{`{"accepted":false,"status":"stopped"}`, 502, "bad_gateway", rejected},
		{`{"accepted":false,"message":7}`, 502, "bad_gateway", rejected},
	} {
		reply := says(c.payload)
		reply.Names = []string{platform.StartRequest}
		r.vmBehaves(reply)
		w := r.write(g, start)
		if f := w.failure(); w.status != c.status || f.Type != c.kind || f.Outcome != c.outcome {
			t.Errorf("%s: %s, want %d %s %s", c.payload, w, c.status, c.kind, c.outcome)
			continue
		}
		switch c.outcome {
		case "":
			r.wantRecord(w, "finished", "accepted")
		default:
			r.wantRecord(w, "failed", c.outcome)
		}
	}
}

// An allowance is the member allowed, once, and true. Everything else about it
// may be of any type; nothing is published to the VM worker without it.
func TestWordingOfBillingReplies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	for _, c := range []worded{
		{`{"allowed":false,"Allowed":true}`, 402, "billing_required", ""},
		{`{"allowed":false,"reason":7}`, 402, "billing_required", ""},
		{`{"allowed":false,"reason":"quota_exceeded","message":[],"command":7,"usage":"much"}`, 402, "quota_exceeded", ""},

		{`{"ALLOWED":true}`, 502, "bad_gateway", ""},
		{`{"Allowed":true}`, 502, "bad_gateway", ""},
		{`{"allowed":true,"allowed":false}`, 502, "bad_gateway", ""},
		{`{"allowed":false,"allowed":true}`, 502, "bad_gateway", ""},
		{`{"allowed":true,"allowed":true}`, 502, "bad_gateway", ""},
		{`{"allowed":false,"\u0061llowed":true}`, 502, "bad_gateway", ""},
		{`{"allowed":true,"error":"no","error":null}`, 502, "bad_gateway", ""},

		{`{"allowed":true,"plan_id":7}`, 202, "", ""},
		{`{"allowed":true,"reason":[],"message":{},"action":1,"command":false,"recommended_plan":[1],"usage":"none"}`, 202, "", ""},
		{`{"allowed":true,"Error":"no"}`, 202, "", ""},
	} {
		before := r.Events.Accepted(platform.StartRequest)
		r.Billing.SetBehaviour(says(c.payload))
		w := r.write(g, start)
		if w.status != c.status || w.failure().Type != c.kind {
			t.Errorf("%s: %s, want %d %s", c.payload, w, c.status, c.kind)
		}
		if published := r.Events.Accepted(platform.StartRequest) - before; (published == 1) != (c.status == http.StatusAccepted) {
			t.Errorf("%s: %d starts published", c.payload, published)
		}
	}
}

// newRead reads a status that was asked for after the worker began to answer
// with payload: a write before it makes every older one worthless.
func (r *rig) newRead(g *gateway, payload string) *call {
	r.t.Helper()
	reply := says(payload)
	reply.Names = []string{platform.StatusRequest}
	r.vmBehaves(reply)
	r.wantWrite(g, start, http.StatusAccepted, "")
	return r.read(g)
}

// A status is its member state, once; other members that are not what they
// should be are left out.
func TestWordingOfStatusReplies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.untraced = true
	g := r.gateway()
	for _, c := range []struct{ payload, status string }{ // no status is a 502
		{`{"ſtate":"ready"}`, ""},
		{`{"State":"ready"}`, ""},
		{`{"status":{"STATE":"ready"}}`, ""},
		{`{"Status":{"state":"ready"}}`, ""},
		{`{"state":"stopped","state":"ready"}`, ""},
		{`{"state":"ready","\u0073tate":"ready"}`, ""},
		{`{"status":{"state":"stopped","state":"ready"}}`, ""},
		{`{"status":{"state":"stopped"},"status":{"state":"ready"}}`, ""},
		{`{"state":"ready","error":"gone","error":null}`, ""},

		{`{"state":"ready","State":"stopped"}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","status":"ok"}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":7}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":"x","details":"text"}`, `{"state":"ready","provider":"x"}`},
		{`{"state":"ready","provider":"x","details":[]}`, `{"state":"ready","provider":"x"}`},
		{`{"status":{"state":"ready","provider":[],"details":1}}`, `{"state":"ready","provider":"events"}`},
		{`{"state":"ready","provider":"x","details":{"State":1,"a":null}}`, `{"state":"ready","provider":"x","details":{"State":1,"a":null}}`},
	} {
		read := r.newRead(g, c.payload)
		switch {
		case c.status == "":
			if read.status != http.StatusBadGateway || read.failure().Type != "bad_gateway" {
				t.Errorf("%s: %s, want 502 bad_gateway", c.payload, read)
			}
		case read.status != http.StatusOK || read.answer.body != fmt.Sprintf(`{"status":%s}`, c.status):
			t.Errorf("%s: %s, want 200 with %s", c.payload, read, c.status)
		}
	}
}

// A line with two correlation ids answers neither of them.
func TestRepeatedCorrelationID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(hurried, "BUS_VM_LATE_REPLY=300ms")
	r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, RepeatID: true})
	for _, w := range r.published(func() *call { return r.write(g, start) }, 3) {
		r.wantRecord(r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown), "failed", "unknown")
	}
	r.Events.SetFaults(platform.Faults{})
	r.back(g)
}
