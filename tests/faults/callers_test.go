package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

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
