package routes_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
)

func withUsage(w *world, c *routes.Config) { c.Usage = w.records }

// The end is recorded exactly once, after the runtime answered and before the
// caller reads it, as what the answer says.
func TestOutcomes(t *testing.T) {
	unknown := apierror.UnavailableAfter(time.Second, "No reply.", nil)
	unknown.OutcomeUnknown = true
	rejectedLate := apierror.New(apierror.BadGateway, "Nonsense.")
	rejectedLate.OutcomeUnknown = true
	for _, c := range []struct {
		name    string
		err     error
		outcome lifecycle.Outcome
		status  string
	}{
		{"accepted", nil, lifecycle.Accepted, "202"},
		{"not sent", apierror.UnavailableAfter(time.Second, "Not connected.", nil), lifecycle.NotSent, "503"},
		{"no reply", unknown, lifecycle.Unknown, "503"},
		{"nonsense", apierror.New(apierror.BadGateway, "Nonsense."), lifecycle.Rejected, "502"},
		{"nonsense that may have been obeyed", rejectedLate, lifecycle.Unknown, "502"},
		{"refused by the integration", apierror.Upstream("no_capacity", "No room.", nil), lifecycle.Rejected, "502"},
		{"refused in words of this gateway", apierror.Upstream(apierror.Unavailable, "No host.", nil), lifecycle.Rejected, "502"},
		{"any error", errors.New("canary"), lifecycle.Unknown, "500"},
		{"a deadline", context.DeadlineExceeded, lifecycle.Unknown, "500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := serve(t, withUsage)
			w.runtime.apply = func(context.Context, backend.Operation) error { return c.err }
			for _, action := range []string{"start", "stop"} {
				assert.Contains(t, w.call(t, "POST", "/api/v1/vm/"+action, both(), ""), "HTTP/1.1 "+c.status+" ")
				assert.Equal(t, []string{"requested " + action, "apply " + action, "ended " + action + " " + string(c.outcome)}, w.take())
			}
		})
	}
}

// All three see the same operation, each write a new one.
func TestOperations(t *testing.T) {
	w := serve(t, withUsage)
	var seen []backend.Operation
	see := func(op backend.Operation) { op.Late = nil; seen = append(seen, op) }
	w.records.requested = func(op backend.Operation) error { see(op); return nil }
	w.runtime.apply = func(_ context.Context, op backend.Operation) error { see(op); return nil }
	w.records.ended = func(op backend.Operation, _ lifecycle.Outcome) error { see(op); return nil }
	began := time.Now()
	w.call(t, "POST", "/api/v1/vm/start", both()+"X-Request-Id: mine-1\r\n", "")
	w.call(t, "POST", "/api/v1/vm/stop", both()+"X-Request-Id: mine-2\r\n", "")
	require.Len(t, seen, 6)
	for i, want := range []backend.Operation{
		{Action: backend.Start, Account: account, RequestID: "mine-1"},
		{Action: backend.Stop, Account: account, RequestID: "mine-2"},
	} {
		op := seen[3*i]
		assert.Equal(t, []backend.Operation{op, op, op}, seen[3*i:3*i+3])
		require.NoError(t, uuid.Validate(op.ID))
		assert.WithinRange(t, op.RequestedAt, began, time.Now())
		want.ID, want.RequestedAt = op.ID, op.RequestedAt
		assert.Equal(t, want, op)
	}
	assert.NotEqual(t, seen[0].ID, seen[3].ID)
}

// What cannot be recorded is not done.
func TestRequestedFails(t *testing.T) {
	w := serve(t, withUsage)
	w.records.requested = func(backend.Operation) error { return errors.New("canary") }
	want := refused("503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "Usage cannot be recorded now, so nothing was done.")
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, []string{"requested start"}, w.take())
}

// A 202 means that the end is recorded; another answer stays as it is.
func TestEndedFails(t *testing.T) {
	w := serve(t, withUsage)
	w.records.ended = func(backend.Operation, lifecycle.Outcome) error { return errors.New("canary") }
	want := refused("503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable",
		"The runtime accepted, but the end of the operation could not be recorded yet.")
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
	assert.Equal(t, []string{"requested stop", "apply stop", "ended stop accepted"}, w.take())

	w.runtime.apply = func(context.Context, backend.Operation) error { return apierror.New(apierror.BadGateway, "Nonsense.") }
	assert.Equal(t, refused("502 Bad Gateway", "", "bad_gateway", "Nonsense."), w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
	assert.Equal(t, []string{"requested stop", "apply stop", "ended stop rejected"}, w.take())
}

// A panic of the runtime ends as unknown, once, and costs its request a 500.
func TestApplyPanics(t *testing.T) {
	w := serve(t, withUsage)
	w.runtime.apply = func(context.Context, backend.Operation) error { panic("canary") }
	want := refused("500 Internal Server Error", "", "internal_error", "The server failed to answer this request.")
	for range 2 {
		assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
		assert.Equal(t, []string{"requested start", "apply start", "ended start unknown"}, w.take())
	}
	w.records.ended = func(backend.Operation, lifecycle.Outcome) error { return errors.New("canary") }
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, []string{"requested start", "apply start", "ended start unknown"}, w.take())
}

// A result that comes after an unknown outcome is recorded in its place,
// although the request is long over.
func TestLateResults(t *testing.T) {
	w := serve(t, withUsage)
	unknown := apierror.UnavailableAfter(time.Second, "No reply.", nil)
	unknown.OutcomeUnknown = true
	var given backend.Operation
	w.runtime.apply = func(_ context.Context, op backend.Operation) error { given = op; return unknown }
	var recorded []string
	w.records.ended = func(op backend.Operation, _ lifecycle.Outcome) error {
		recorded = append(recorded, op.ID+op.RequestID)
		return nil
	}
	for _, c := range []struct {
		result  error
		outcome string
	}{
		{nil, "accepted"}, {apierror.New(apierror.BadGateway, "Nonsense."), "rejected"},
	} {
		recorded = nil
		w.call(t, "POST", "/api/v1/vm/start", both()+"X-Request-Id: mine\r\n", "")
		w.call(t, "GET", "/api/v1/vm/status", both()+"X-Request-Id: other\r\n", "")
		require.NotNil(t, given.Late)
		given.Late(c.result)
		assert.Equal(t, []string{given.ID + "mine", given.ID + "mine"}, recorded)
		assert.Equal(t, []string{"requested start", "apply start", "ended start unknown", "status", "ended start " + c.outcome}, w.take())
	}
}

// Without a recorder nobody waits for a late result.
func TestNoLateResultsWithoutUsage(t *testing.T) {
	w := serve(t, nil)
	w.runtime.apply = func(_ context.Context, op backend.Operation) error {
		if op.Late != nil {
			return errors.New("somebody waits")
		}
		return nil
	}
	assert.Equal(t, started, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
}
