package routes_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
)

var (
	noAccount = refused("403 Forbidden", "", "insufficient_access", "The subject of this token is not a billable account.")
	denied    = answered("402 Payment Required", "",
		`{"error":{"type":"quota_exceeded","message":"The plan is used up.","outcome":"not_sent","action":"upgrade","command":"bus billing setup",`+
			`"plan_id":"small","recommended_plan":"large","usage":{"hours":7},"request_id":"<id>"}}`)
)

func deny(context.Context, string, string) error {
	return &lifecycle.Error{Kind: lifecycle.Denied, Type: lifecycle.QuotaExceeded, Message: "The plan is used up.", Denial: lifecycle.Denial{
		Action: "upgrade", Command: "bus billing setup", PlanID: "small", RecommendedPlan: "large", Usage: []byte(`{"hours":7}`),
	}}
}

// Whatever is wrong with a write at once, the caller reads the first of 401,
// 403, 400 and 402, and nothing that stands behind the refusal is asked.
func TestOrderOfRefusals(t *testing.T) {
	w := serve(t, everything)
	w.billing.answer = deny
	const body = `{"size":8}`
	good := bearer(token(account, "vm:write"))
	noUUID := bearer(token("caller", "vm:write"))
	unscoped := bearer(token(account, "vm:read"))
	asked := []string{"entitlement vm:write"}
	for _, path := range []string{"/api/v1/vm/start", "/api/v1/vm/stop"} {
		for _, c := range []struct {
			name, headers, body, want string
			asked                     []string
		}{
			{"no token, bad body", "", body, missing, nil},
			{"bad token, bad body", bearer("x.y.z"), body, invalid, nil},
			{"no scope, no account, bad body", bearer(token("caller", "vm:read")), body, noScope("vm:write"), nil},
			{"no scope, bad body", unscoped, body, noScope("vm:write"), nil},
			{"no scope", unscoped, "", noScope("vm:write"), nil},
			{"no account, bad body", noUUID, body, noAccount, nil},
			{"no account", noUUID, "", noAccount, nil},
			{"bad body", good, body, badBody, nil},
			{"denied", good, "", denied, asked},
			{"denied, empty object", good, " { } ", denied, asked},
		} {
			assert.Equal(t, c.want, w.call(t, "POST", path, c.headers, c.body), "%s: %s", path, c.name)
			assert.Equal(t, c.asked, w.take(), "%s: %s", path, c.name)
		}
	}
}

// A write that could not be sent is neither billed nor recorded. A caller who may
// not make it learns nothing of that.
func TestOutOfReach(t *testing.T) {
	w := serve(t, everything)
	w.runtime.reach = func(_ context.Context, action lifecycle.Action) error {
		if action == lifecycle.Start {
			return away("Not connected.", nil)
		}
		return nil
	}
	unreachable := failed(lifecycle.NotSent, "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "Not connected.")
	assert.Equal(t, unreachable, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, noScope("vm:write"), w.call(t, "POST", "/api/v1/vm/start", bearer(token(account, "vm:read")), ""))
	assert.Equal(t, badBody, w.call(t, "POST", "/api/v1/vm/start", both(), "x"))
	assert.Empty(t, w.take())
	assert.Contains(t, w.call(t, "POST", "/api/v1/vm/stop", both(), ""), " 202 ")
	assert.Len(t, w.take(), 4)
}

// Reads are neither billed nor recorded, and writes only where it is wanted.
func TestWhoIsAsked(t *testing.T) {
	write := []string{"apply start"}
	written := []string{"requested start", "apply start", "ended accepted"}
	for _, c := range []struct {
		name    string
		with    func(*world, *routes.Config)
		subject string
		want    string
		asked   []string
	}{
		{"no claims", nil, "caller", started, write},
		{"billing", func(w *world, c *routes.Config) { c.Entitlement = w.billing.check }, account, started, append([]string{"entitlement vm:write"}, write...)},
		{"billing, no account", func(w *world, c *routes.Config) { c.Entitlement = w.billing.check }, "caller", noAccount, nil},
		{"operations", func(w *world, c *routes.Config) { c.Operations = w.records }, "caller", recorded, written},
		{"usage", withUsage, account, recorded, written},
		{"usage, no account", withUsage, "caller", noAccount, nil},
		{"both", everything, account, recorded, append([]string{"entitlement vm:write"}, written...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := serve(t, c.with)
			assert.Equal(t, c.want, w.call(t, "POST", "/api/v1/vm/start", bearer(token(c.subject, "vm:write")), ""))
			assert.Equal(t, c.asked, w.take())
			assert.Equal(t, state, w.call(t, "GET", "/api/v1/vm/status", bearer(token("caller", "vm:read")), ""))
			assert.Equal(t, []string{"status"}, w.take())
		})
	}
}

// Whatever billing answers but yes, nothing is recorded or done; it is asked for
// each write again, about the caller and the scope, and each answer is counted by
// what it means. A caller whom billing is not asked about counts for nothing.
func TestEntitlementAnswers(t *testing.T) {
	set := metrics.NewSet()
	w := serve(t, func(w *world, c *routes.Config) {
		everything(w, c)
		c.Metrics = set
	})
	unavailable := failed(lifecycle.NotSent, "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "No answer.")
	internal := failed(lifecycle.NotSent, "500 Internal Server Error", "", "internal_error", "The server failed to answer this request.")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"denied", deny(t.Context(), "", ""), denied},
		{"denied in its own word", &lifecycle.Error{Kind: lifecycle.Denied, Type: "any_word", Message: "No."},
			failed(lifecycle.NotSent, "402 Payment Required", "", "any_word", "No.")},
		{"no answer", away("No answer.", nil), unavailable},
		{"no answer, with a cause", away("No answer.", errors.New("canary")), unavailable},
		{"an error of its own", rejection("any_word", "x", nil), failed(lifecycle.NotSent, "502 Bad Gateway", "", "any_word", "x")},
		{"malformed", malformed("Malformed."), failed(lifecycle.NotSent, "502 Bad Gateway", "", "bad_gateway", "Malformed.")},
		{"any error", errors.New("canary"), internal},
		{"a panic", nil, internal},
		{"yes", nil, answered("202 Accepted", location, `{"accepted":true,"action":"stop"}`)},
	} {
		w.billing.answer = func(_ context.Context, who, scope string) error {
			w.add(who + " " + scope)
			if c.name == "a panic" {
				panic("canary")
			}
			return c.err
		}
		for range 2 {
			assert.Equal(t, c.want, w.call(t, "POST", "/api/v1/vm/stop", both(), ""), c.name)
			asked := []string{"entitlement vm:write", account + " vm:write"}
			if c.name == "yes" {
				asked = append(asked, "requested stop", "apply stop", "ended accepted")
			}
			assert.Equal(t, asked, w.take(), c.name)
		}
	}
	w.call(t, "POST", "/api/v1/vm/start", both(), "x")
	w.call(t, "POST", "/api/v1/vm/start", "", "")
	w.call(t, "GET", "/api/v1/vm/status", both(), "")
	for result, want := range map[string]uint64{"allowed": 2, "denied": 4, "unanswered": 4, "failed": 6} {
		assert.Equal(t, want, set.GetOrCreateCounter(`bus_vm_entitlement_answers_total{result="`+result+`"}`).Get(), result)
	}
}

// Each step of a write that waits for somebody ends at its own deadline.
func TestDeadlines(t *testing.T) {
	const timeout = 50 * time.Millisecond
	w := serve(t, func(w *world, c *routes.Config) {
		everything(w, c)
		c.Timeout = timeout
	})
	late := away("Too late.", nil)
	tooLate := func(headers string) string {
		return failed(lifecycle.NotSent, "503 Service Unavailable", headers+"Retry-After: 5\n", "backend_unavailable", "Too late.")
	}
	wait := func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > timeout {
			return errors.New("no deadline")
		}
		<-ctx.Done()
		return late
	}
	w.runtime.apply = func(ctx context.Context, _ lifecycle.Operation) (lifecycle.Outcome, error) {
		return lifecycle.NotSent, wait(ctx)
	}
	assert.Equal(t, tooLate(location), w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	w.billing.answer = func(ctx context.Context, _, _ string) error { return wait(ctx) }
	assert.Equal(t, tooLate(""), w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, []string{
		"entitlement vm:write", "requested start", "apply start", "ended not_sent",
		"entitlement vm:write",
	}, w.take())
}
