package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Callers who may not act: nothing is published for them but the entitlement
// check of those whom only billing refuses. The rig's check looks at that.
func TestRefusedCallers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	claims := func(c *call, scope string) platform.Claims {
		return platform.Claims{Subject: c.account, Scope: scope}
	}
	const both = "vm:read vm:write"
	for name, c := range map[string]struct {
		change func(*call)
		status int
		kind   string
	}{
		"no token":       {func(c *call) { c.token = "" }, 401, "invalid_auth"},
		"nonsense":       {func(c *call) { c.token = "nonsense" }, 401, "invalid_auth"},
		"another secret": {func(c *call) { c.token = platform.Token(eventsSecret, claims(c, both)) }, 401, "invalid_auth"},
		"expired":        {func(c *call) { x := claims(c, both); x.TTL = -time.Second; c.token = platform.Token(callerSecret, x) }, 401, "invalid_auth"},
		"other audience": {func(c *call) {
			x := claims(c, both)
			x.Audience = "ai.hg.fi/apis"
			c.token = platform.Token(callerSecret, x)
		}, 401, "invalid_auth"},
		"reader":          {func(c *call) { c.token = platform.CallerToken(callerSecret, c.account, "vm:read") }, 403, "insufficient_access"},
		"no scope at all": {func(c *call) { c.token = platform.Token(callerSecret, claims(c, "")) }, 403, "insufficient_access"},
		"a longer scope":  {func(c *call) { c.token = platform.CallerToken(callerSecret, c.account, "vm:writer vm:write:x") }, 403, "insufficient_access"},
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
			if r.make(w); w.status != c.status || w.failure().Type != c.kind {
				t.Errorf("%s: %s, want %d %s", name, w, c.status, c.kind)
			}
		}
	}
	if n := r.Events.Accepted(platform.StartRequest) + r.Events.Accepted(platform.StopRequest) + r.Events.Accepted(platform.UsageRequest); n > 0 {
		t.Errorf("%d events were published for refused callers", n)
	}
	if n := r.Events.Accepted(platform.EntitlementRequest); n != 4 {
		t.Errorf("billing was asked %d times, want 4", n)
	}
	r.wantWrite(g, start, http.StatusAccepted, "")
}
