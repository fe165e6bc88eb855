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
)

// All three see the same operation, each write a new one.
func TestOperations(t *testing.T) {
	w := serve(t, withUsage)
	var seen []backend.Operation
	tooLate := errors.New("too late")
	w.records.requested = func(op backend.Operation) (func() error, error) {
		seen = append(seen, op)
		return func() error { return tooLate }, nil
	}
	permitted := func(op backend.Operation) {
		assert.Equal(t, tooLate, op.Permit())
		op.Permit = nil
		seen = append(seen, op)
	}
	w.runtime.apply = func(_ context.Context, op backend.Operation) (backend.Outcome, error) {
		permitted(op)
		return backend.Accepted, nil
	}
	w.records.ended = func(op backend.Operation, outcome backend.Outcome) (backend.Outcome, error) {
		permitted(op)
		return outcome, nil
	}
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
	w.records.requested = func(backend.Operation) (func() error, error) { return nil, errors.New("canary") }
	want := failed(backend.NotSent, "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "The operation cannot be recorded now, so nothing was done.")
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, []string{"requested start"}, w.take())
}

// What is on record when an operation has ended is the answer.
func TestEnds(t *testing.T) {
	const (
		unavailable = "503 Service Unavailable"
		retry       = "Retry-After: 5\n"
	)
	accepted := answered("202 Accepted", "", `{"accepted":true,"action":"stop"}`)
	noRoom, noReply, unsent := rejection("no_capacity", "No room.", nil), away("No reply.", nil), away("Not sent.", nil)
	own := func(outcome backend.Outcome) string {
		switch outcome {
		case backend.Rejected:
			return failed(outcome, "502 Bad Gateway", "", "no_capacity", "No room.")
		case backend.NotSent:
			return failed(outcome, unavailable, retry, "backend_unavailable", "Not sent.")
		}
		return failed(outcome, unavailable, retry, "backend_unavailable", "No reply.")
	}
	unrecorded := failed(backend.Unknown, unavailable, retry, "backend_unavailable",
		"The runtime answered, but the end of the operation could not be recorded yet.")
	lost := failed(backend.Unknown, unavailable, retry, "backend_unavailable", "What became of the operation is not known.")
	otherwise := failed(backend.Rejected, "502 Bad Gateway", "", "bad_gateway", "The runtime did not accept the operation.")
	canary := errors.New("canary")
	for _, c := range []struct {
		outcome  backend.Outcome // of the runtime
		err      error
		recorded backend.Outcome
		failure  error // of recording
		want     string
	}{
		{backend.Accepted, nil, backend.Accepted, nil, accepted},
		{backend.Accepted, nil, backend.Rejected, nil, otherwise},
		{backend.Accepted, nil, backend.Unknown, nil, lost},
		{backend.Accepted, nil, backend.NotSent, nil, lost},
		{backend.Accepted, nil, "", nil, lost},
		{backend.Accepted, nil, backend.Accepted, canary, unrecorded},
		{backend.Rejected, noRoom, backend.Rejected, nil, own(backend.Rejected)},
		{backend.Rejected, noRoom, backend.Accepted, nil, accepted},
		{backend.Rejected, noRoom, backend.Rejected, canary, unrecorded},
		{backend.NotSent, unsent, backend.NotSent, nil, own(backend.NotSent)},
		{backend.NotSent, unsent, backend.Accepted, nil, accepted},
		{backend.NotSent, unsent, backend.Rejected, nil, otherwise},
		{backend.NotSent, unsent, backend.Unknown, nil, lost},
		{backend.NotSent, unsent, backend.NotSent, canary, own(backend.NotSent)},
		{backend.Unknown, noReply, backend.Unknown, nil, own(backend.Unknown)},
		{backend.Unknown, noReply, backend.Accepted, nil, accepted},
		{backend.Unknown, noReply, backend.Rejected, nil, otherwise},
	} {
		t.Run(string(c.outcome+" "+c.recorded), func(t *testing.T) {
			w := serve(t, withUsage)
			w.runtime.apply = ends(c.outcome, c.err)
			w.records.ended = func(backend.Operation, backend.Outcome) (backend.Outcome, error) { return c.recorded, c.failure }
			assert.Equal(t, c.want, w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
			assert.Equal(t, []string{"requested stop", "apply stop", "ended stop " + string(c.outcome)}, w.take())
		})
	}
}
