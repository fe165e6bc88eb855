package faults

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// oddity is what a worker may do to one request, and what becomes of it.
type oddity struct {
	behaviour platform.Behaviour
	status    int
	kind      string
	outcome   string // of a failed write
}

// two are gateways before one platform: one gives up soon, for the workers who
// say nothing, and the other late enough; what is unknown is closed after that.
type two struct{ hurried, patient *gateway }

func (r *rig) two(settings ...string) two {
	hasty := r.gateway(append(settings, hurried)...)
	return two{hasty, r.gateway(append(settings, "BUS_VM_TIMEOUT=10s")...)}
}

func (g two) of(o oddity) *gateway {
	if o.status == http.StatusServiceUnavailable {
		return g.hurried
	}
	return g.patient
}

func says(payload string) platform.Behaviour {
	return platform.Behaviour{Payload: json.RawMessage(payload)}
}

func refuses(e platform.EventError) platform.Behaviour { return platform.Behaviour{Refuse: &e} }

var starts = []string{platform.StartRequest}

// toStarts limits a behaviour to starts.
func toStarts(b platform.Behaviour) platform.Behaviour {
	b.Names = starts
	return b
}

// The VM worker answers a start in every way it should not, and in some unusual
// ones that it may. Of its reply exact member names count, once each; a member of
// another type than expected is ignored where the answer can be told without it.
func TestLifecycleWorker(t *testing.T) {
	r := newRig(t)
	g := r.two("BUS_VM_LATE_REPLY=100ms")
	noCapacity := platform.EventError{Code: "no_capacity", Message: "none left"}
	withCode, asText, inPayload := noCapacity, noCapacity, noCapacity
	withCode.WithCode, asText.AsText, inPayload.InPayload = true, true, true
	odd := map[string]oddity{
		"slow":                 {platform.Behaviour{Delay: 200 * time.Millisecond}, 202, "", ""},
		"deaf":                 {platform.Behaviour{Deaf: true}, 503, unavailable, unknown},
		"silent":               {platform.Behaviour{Silent: true}, 503, unavailable, unknown},
		"an error with a type": {refuses(noCapacity), 502, "no_capacity", rejected},
		"an error with a code": {refuses(withCode), 502, "no_capacity", rejected},
		"an error as text":     {refuses(asText), 502, "integration_error", rejected},
		"an error inside":      {refuses(inPayload), 502, "no_capacity", rejected},
		"in words of ours":     {refuses(platform.EventError{Code: unavailable, Message: "none left"}), 502, unavailable, rejected},
	}
	for _, c := range repliesTo(hostile.Start) {
		odd[c.Name] = oddity{says(c.Payload), c.Status, c.Type, c.Outcome}
	}
	writes := map[*call]oddity{}
	for name, c := range odd {
		r.vmBehaves(toStarts(c.behaviour))
		w := r.write(g.of(c), start)
		r.expect(name, w, c.status, c.kind)
		assert.Equal(t, c.outcome, w.failure().Outcome, name)
		t.Logf("request %s: %s", w.requestID, name) // which a failure below shows
		writes[w] = c
	}
	for w, c := range writes { // the unknown ones are closed at the same time
		if c.outcome == "" {
			r.wantRecord(w, "finished", "accepted")
		} else {
			r.wantRecord(w, "failed", c.outcome)
		}
	}
}

// Without a clear allowance nothing is published to the VM worker and nothing
// is recorded. An allowance is the member allowed, once, and true; everything
// else about it may be of any type. Of a denial, usage is passed on within bounds.
func TestBillingWorker(t *testing.T) {
	r := newRig(t)
	g := r.two()
	storage := platform.EventError{Code: "storage_error", Message: "disk"}
	asText := storage
	asText.AsText = true
	odd := map[string]oddity{
		"slow":                   {platform.Behaviour{Delay: 200 * time.Millisecond}, 202, "", ""},
		"deaf":                   {platform.Behaviour{Deaf: true}, 503, unavailable, notSent},
		"its own error":          {refuses(storage), 502, "storage_error", notSent},
		"its own error, as text": {refuses(asText), 502, "integration_error", notSent},
	}
	usages := map[string]string{}
	for _, c := range repliesTo(hostile.Billing) {
		odd[c.Name] = oddity{says(c.Payload), c.Status, c.Type, c.Outcome}
		if c.Shown != "" {
			usages[c.Name] = c.Shown
		}
	}
	for name, c := range odd {
		before := r.Events.Accepted(platform.StartRequest)
		r.Billing.SetBehaviour(c.behaviour)
		w := r.write(g.of(c), start)
		r.expect(name, w, c.status, c.kind)
		assert.Equal(t, c.outcome, w.failure().Outcome, "%.200s", name)
		assert.Equal(t, c.status == 202, r.Events.Accepted(platform.StartRequest) == before+1, "%.200s: starts published", name)
		if usage, there := usages[name]; there {
			assert.True(t, string(w.failure().Usage) == usage, "usage %.200s, want %.200s", w.failure().Usage, usage)
		}
	}
}

// Credentials in an integration's own words reach neither callers nor the log,
// and the words around them stay.
func TestForeignCredentials(t *testing.T) {
	r := newRig(t)
	g := r.gateway()
	for message, want := range map[string]string{
		"proxy said Basic ZGF2ZTpjYW5hcnk=":                "proxy said [redacted]",
		"cannot reach postgres://dave:canary@db/vm, sorry": "cannot reach postgres://[redacted]@db/vm, sorry",
		"refused: password=canary1 user=dave":              "refused: password=[redacted] user=dave",
		"sent X-Api-Key: canary-2":                         "sent X-Api-Key: [redacted]",
		"A valid bearer token is required.":                "A valid bearer token is required.",
	} {
		r.vmBehaves(platform.Behaviour{Names: []string{platform.StartRequest}, Refuse: &platform.EventError{Code: "cloud", Message: message}})
		w := r.wantWrite(g, start, http.StatusBadGateway, "cloud")
		assert.True(t, strings.HasPrefix(w.failure().Message, want), w.failure().Message)
	}
	for _, secret := range []string{"canary", "ZGF2ZTpjYW5hcnk"} {
		assert.NotContains(t, g.log.all(), secret)
	}
}

func repliesTo(to hostile.To) []hostile.Reply {
	return slices.DeleteFunc(hostile.Replies(), func(r hostile.Reply) bool { return r.To != to })
}

// newRead reads a status that was asked for after the worker began to behave so:
// a write before it makes every older one worthless.
func (r *rig) newRead(g *gateway, how platform.Behaviour) *call {
	r.t.Helper()
	how.Names = []string{platform.StatusRequest}
	r.vmBehaves(how)
	r.back(g)
	return r.read(g)
}

// A status is its member state, once; other members that are not what they should
// be are left out. It is passed on within bounds; what is larger, deeper or no
// valid text or number is malformed.
func TestStatusReplies(t *testing.T) {
	r := newRig(t)
	r.untraced = true
	g := r.gateway()
	for _, c := range repliesTo(hostile.Status) {
		read := r.newRead(g, says(c.Payload))
		r.expect(c.Name, read, c.Status, c.Type)
		assert.True(t, c.Status != 200 || read.answer.body == `{"status":`+c.Shown+`}`, "%s: %.200s", c.Name, read.answer.body)
	}
	r.expect("slow", r.newRead(g, platform.Behaviour{Delay: 100 * time.Millisecond}), http.StatusOK, "")
	r.expect("its own error", r.newRead(g, refuses(platform.EventError{Code: "vm_gone", Message: "no such machine"})), http.StatusBadGateway, "vm_gone")
	r.expect("deaf", r.newRead(r.gateway(hurried), platform.Behaviour{Deaf: true}), http.StatusServiceUnavailable, unavailable)
}

// A line with two correlation ids answers neither of them, in the history either.
// Once the line is well, the next stream that opens finds what it says there.
func TestRepeatedCorrelationID(t *testing.T) {
	r := newRig(t)
	g := r.gateway(hurried, "BUS_VM_LATE_REPLY=300ms")
	r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, RepeatID: true})
	writes := r.published(func() *call { return r.write(g, start) }, 3)
	for _, w := range writes {
		r.wantRecord(r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown), "failed", "unknown")
	}
	r.Events.SetFaults(platform.Faults{})
	r.Events.CutStreams()
	r.wantCorrections(writes, "accepted")
	r.back(g)
}

// Callers who may not act: nothing is published for them but the entitlement
// check of those whom only billing refuses. The rig's check looks at that. Those
// who are refused before were told what they need: their answers have no outcome.
func TestRefusedCallers(t *testing.T) {
	r := newRig(t)
	g := r.gateway()
	const both = "vm:read vm:write"
	by := func(secret string, claims platform.Claims) func(*call) {
		return func(c *call) {
			claims.Subject = c.account
			c.token = platform.Token(secret, claims)
		}
	}
	for name, c := range map[string]struct {
		change func(*call)
		status int
		kind   string
	}{
		"no token":        {func(c *call) { c.token = "" }, 401, "invalid_auth"},
		"malformed":       {func(c *call) { c.token = "malformed" }, 401, "invalid_auth"},
		"another secret":  {by(eventsSecret, platform.Claims{Scope: both}), 401, "invalid_auth"},
		"expired":         {by(callerSecret, platform.Claims{Scope: both, TTL: -time.Second}), 401, "invalid_auth"},
		"other audience":  {by(callerSecret, platform.Claims{Scope: both, Audience: "ai.hg.fi/apis"}), 401, "invalid_auth"},
		"reader":          {by(callerSecret, platform.Claims{Scope: "vm:read"}), 403, "insufficient_access"},
		"no scope at all": {by(callerSecret, platform.Claims{}), 403, "insufficient_access"},
		"a longer scope":  {by(callerSecret, platform.Claims{Scope: "vm:writer vm:write:x"}), 403, "insufficient_access"},
		"no account": {func(c *call) {
			c.account = "user-" + c.account
			c.token = platform.CallerToken(callerSecret, c.account, both)
		}, 403, "insufficient_access"},
		"a body": {func(c *call) { c.body = `{"runtime":"other"}` }, 400, "bad_request"},
		"denied": {func(c *call) {
			r.Billing.Decide(c.account, platform.Decision{Command: "bus billing setup"})
		}, 402, "billing_required"},
		"over quota": {func(c *call) {
			r.Billing.Decide(c.account, platform.Decision{Reason: "quota_exceeded", Usage: map[string]any{"hours": 10}})
		}, 402, "quota_exceeded"},
	} {
		for _, action := range []string{start, stop} {
			w := newCall(g, action)
			c.change(w)
			r.expect(name, r.make(w), c.status, c.kind)
			assert.Equal(t, c.status == 402, w.failure().Outcome != "", "%s: %s", name, w)
		}
	}
	assert.Zero(t, r.Events.Accepted(platform.StartRequest)+r.Events.Accepted(platform.StopRequest)+r.Events.Accepted(platform.UsageRequest))
	assert.Equal(t, 4, r.Events.Accepted(platform.EntitlementRequest), "billing was asked")
	r.wantWrite(g, start, http.StatusAccepted, "")
}
