package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What error.outcome says of a failed write (contract §2).
const (
	notSent  = "not_sent" // nothing was done
	rejected = "rejected" // the runtime said no
	unknown  = "unknown"  // the runtime may still act
)

// Every failed write that passed the checks says what became of it, so that no
// program has to read the message. The rig holds it to what was published. Here
// the API is at fault; TestLifecycleWorker and TestBillingWorker have the rest.
func TestOutcomes(t *testing.T) {
	type row struct {
		timeout string
		faults  platform.Faults
		cut     bool // the stream of replies to starts ends as well
		outcome string
	}
	rows(t, map[string]row{
		"an answer that is no HTTP":    {hurried, platform.Faults{Names: starts, GarbageHTTP: true}, false, unknown},
		"a stream that is down":        {unhurried, platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, ListenStatus: 500}, true, notSent},
		"billing away, by its publish": {unhurried, platform.Faults{Names: []string{platform.EntitlementRequest}, PublishStatus: 400}, false, notSent},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(c.timeout, "BUS_VM_LATE_REPLY=300ms")
		r.Events.SetFaults(c.faults)
		if c.cut {
			r.Events.CutStreams(c.faults.Names...)
			g.awaitMetric(streamUp(platform.StartRequest), zero)
		}
		r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, c.outcome)
	})
}

// A write beyond a limit says that nothing was done.
func TestOutcomesAtLimits(t *testing.T) {
	t.Parallel()
	t.Run("writes in flight", func(t *testing.T) {
		r := newRig(t)
		g := r.gateway("BUS_VM_WRITES_IN_FLIGHT=1")
		_, answered := r.underWay(g, 1, platform.Behaviour{})
		r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, notSent)
		r.VM.Release()
		answered.Wait()
	})
	t.Run("writes per second", func(t *testing.T) {
		r := newRig(t)
		g := r.gateway("BUS_VM_WRITES_PER_SECOND=1")
		// One account's writes, as fast as they go: a second passes between the
		// first two only on a machine that stands still.
		first := newCall(g, start)
		r.want(r.make(first), http.StatusAccepted, "")
		require.True(t, eventually(func() bool {
			next := newCall(g, start)
			next.account, next.token = first.account, first.token
			if r.make(next).status == http.StatusAccepted {
				return false
			}
			r.wantOutcome(next, http.StatusTooManyRequests, "too_many_requests", notSent)
			return true
		}), "no write was refused")
	})
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
