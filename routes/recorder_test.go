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
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
)

func withUsage(w *world, c *routes.Config) { c.Usage = w.records }

// All three see the same operation, each write a new one.
func TestOperations(t *testing.T) {
	w := serve(t, withUsage)
	var seen []backend.Operation
	see := func(op backend.Operation) { op.Late = nil; seen = append(seen, op) }
	w.records.requested = func(op backend.Operation) error { see(op); return nil }
	w.runtime.apply = func(_ context.Context, op backend.Operation) (backend.Outcome, error) {
		see(op)
		return backend.Accepted, nil
	}
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
	want := failed(backend.NotSent, "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "Usage cannot be recorded now, so nothing was done.")
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, []string{"requested start"}, w.take())
}

// A 202 means that the end is recorded; another answer stays as it is.
func TestEndedFails(t *testing.T) {
	w := serve(t, withUsage)
	w.records.ended = func(backend.Operation, lifecycle.Outcome) error { return errors.New("canary") }
	want := failed(backend.Unknown, "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable",
		"The runtime accepted, but the end of the operation could not be recorded yet.")
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
	assert.Equal(t, []string{"requested stop", "apply stop", "ended stop accepted"}, w.take())

	w.runtime.apply = ends(backend.Rejected, rejection("no_capacity", "No room.", nil))
	assert.Equal(t, failed(backend.Rejected, "502 Bad Gateway", "", "no_capacity", "No room."), w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
	assert.Equal(t, []string{"requested stop", "apply stop", "ended stop rejected"}, w.take())
}

// A result that comes after an unknown outcome is recorded in its place,
// although the request is long over.
func TestLateResults(t *testing.T) {
	w := serve(t, withUsage)
	var given backend.Operation
	w.runtime.apply = func(_ context.Context, op backend.Operation) (backend.Outcome, error) {
		given = op
		return backend.Unknown, away("No reply.", nil)
	}
	var recorded []string
	w.records.ended = func(op backend.Operation, _ lifecycle.Outcome) error {
		recorded = append(recorded, op.ID+op.RequestID)
		return nil
	}
	for _, outcome := range []backend.Outcome{backend.Accepted, backend.Rejected} {
		recorded = nil
		w.call(t, "POST", "/api/v1/vm/start", both()+"X-Request-Id: mine\r\n", "")
		w.call(t, "GET", "/api/v1/vm/status", both()+"X-Request-Id: other\r\n", "")
		require.NotNil(t, given.Late)
		given.Late(outcome)
		assert.Equal(t, []string{given.ID + "mine", given.ID + "mine"}, recorded)
		assert.Equal(t, []string{"requested start", "apply start", "ended start unknown", "status", "ended start " + string(outcome)}, w.take())
	}
}
