package routes_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// All three see the same operation, each write a new one.
func TestOperations(t *testing.T) {
	w := serve(t, withUsage)
	var seen []lifecycle.Operation
	tooLate := errors.New("too late")
	w.records.requested = func(w lifecycle.Write) (func() error, error) {
		seen = append(seen, lifecycle.Operation{ID: w.ID, Action: w.Action, Account: w.Account, RequestID: w.RequestID})
		assert.Empty(t, w.Key)
		assert.False(t, w.Join)
		return func() error { return tooLate }, nil
	}
	began := time.Now()
	w.runtime.apply = func(_ context.Context, op lifecycle.Operation) (lifecycle.Outcome, error) {
		assert.Equal(t, tooLate, op.Permit())
		assert.WithinRange(t, op.RequestedAt, began, time.Now())
		op.Permit, op.RequestedAt = nil, time.Time{}
		seen = append(seen, op)
		return lifecycle.Accepted, nil
	}
	w.records.ended = func(id string, outcome lifecycle.Outcome) (lifecycle.Outcome, error) {
		assert.Equal(t, seen[len(seen)-1].ID, id)
		return outcome, nil
	}
	w.call(t, "POST", "/api/v1/vm/start", both()+"X-Request-Id: mine-1\r\n", "")
	w.call(t, "POST", "/api/v1/vm/stop", both()+"X-Request-Id: mine-2\r\n", "")
	require.Len(t, seen, 4)
	for i, want := range []lifecycle.Operation{
		{Action: lifecycle.Start, Account: account, RequestID: "mine-1"},
		{Action: lifecycle.Stop, Account: account, RequestID: "mine-2"},
	} {
		op := seen[2*i]
		require.NoError(t, uuid.Validate(op.ID))
		want.ID = op.ID
		assert.Equal(t, []lifecycle.Operation{want, want}, seen[2*i:2*i+2])
	}
	assert.NotEqual(t, seen[0].ID, seen[2].ID)
}

// What cannot be recorded is not done.
func TestRequestedFails(t *testing.T) {
	w := serve(t, withUsage)
	w.records.requested = func(lifecycle.Write) (func() error, error) { return nil, errors.New("canary") }
	want := failed(lifecycle.NotSent, "503 Service Unavailable", "Retry-After: 5\n", "backend_unavailable", "The operation cannot be recorded now, so nothing was done.")
	assert.Equal(t, want, w.call(t, "POST", "/api/v1/vm/start", both(), ""))
	assert.Equal(t, []string{"requested start"}, w.take())
}

// What is on record when an operation has ended is the answer.
func TestEnds(t *testing.T) {
	const (
		unavailable = "503 Service Unavailable"
		retry       = location + "Retry-After: 5\n"
	)
	accepted := answered("202 Accepted", location, `{"accepted":true,"action":"stop"}`)
	noRoom, noReply, unsent := rejection("no_capacity", "No room.", nil), away("No reply.", nil), away("Not sent.", nil)
	own := func(outcome lifecycle.Outcome) string {
		switch outcome {
		case lifecycle.Rejected:
			return failed(outcome, "502 Bad Gateway", location, "no_capacity", "No room.")
		case lifecycle.NotSent:
			return failed(outcome, unavailable, retry, "backend_unavailable", "Not sent.")
		}
		return failed(outcome, unavailable, retry, "backend_unavailable", "No reply.")
	}
	unrecorded := failed(lifecycle.Unknown, unavailable, retry, "backend_unavailable",
		"The runtime answered, but the end of the operation could not be recorded yet.")
	lost := failed(lifecycle.Unknown, unavailable, retry, "backend_unavailable", "What became of the operation is not known.")
	otherwise := failed(lifecycle.Rejected, "502 Bad Gateway", location, "bad_gateway", "The runtime did not accept the operation.")
	canary := errors.New("canary")
	for _, c := range []struct {
		outcome  lifecycle.Outcome // of the runtime
		err      error
		recorded lifecycle.Outcome
		failure  error // of recording
		want     string
	}{
		{lifecycle.Accepted, nil, lifecycle.Accepted, nil, accepted},
		{lifecycle.Accepted, nil, lifecycle.Rejected, nil, otherwise},
		{lifecycle.Accepted, nil, lifecycle.Unknown, nil, lost},
		{lifecycle.Accepted, nil, lifecycle.NotSent, nil, lost},
		{lifecycle.Accepted, nil, "", nil, lost},
		{lifecycle.Accepted, nil, lifecycle.Accepted, canary, unrecorded},
		{lifecycle.Rejected, noRoom, lifecycle.Rejected, nil, own(lifecycle.Rejected)},
		{lifecycle.Rejected, noRoom, lifecycle.Accepted, nil, accepted},
		{lifecycle.Rejected, noRoom, lifecycle.Rejected, canary, unrecorded},
		{lifecycle.NotSent, unsent, lifecycle.NotSent, nil, own(lifecycle.NotSent)},
		{lifecycle.NotSent, unsent, lifecycle.Accepted, nil, accepted},
		{lifecycle.NotSent, unsent, lifecycle.Rejected, nil, otherwise},
		{lifecycle.NotSent, unsent, lifecycle.Unknown, nil, lost},
		{lifecycle.NotSent, unsent, lifecycle.NotSent, canary, own(lifecycle.NotSent)},
		{lifecycle.Unknown, noReply, lifecycle.Unknown, nil, own(lifecycle.Unknown)},
		{lifecycle.Unknown, noReply, lifecycle.Accepted, nil, accepted},
		{lifecycle.Unknown, noReply, lifecycle.Rejected, nil, otherwise},
	} {
		t.Run(string(c.outcome+" "+c.recorded), func(t *testing.T) {
			w := serve(t, withUsage)
			w.runtime.apply = ends(c.outcome, c.err)
			w.records.ended = func(string, lifecycle.Outcome) (lifecycle.Outcome, error) { return c.recorded, c.failure }
			assert.Equal(t, c.want, w.call(t, "POST", "/api/v1/vm/stop", both(), ""))
			assert.Equal(t, []string{"requested stop", "apply stop", "ended " + string(c.outcome)}, w.take())
		})
	}
}
