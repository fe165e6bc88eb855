package events

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
)

func TestFailure(t *testing.T) {
	f := func(err error, status int, code apierror.Code, message string, unknown bool) {
		t.Helper()
		e := Failure(err, "runtime")
		if e.HTTPStatus() != status || e.Code != code || e.Message != message || e.OutcomeUnknown != unknown ||
			!errors.Is(e.Cause, err) || (e.RetryAfter > 0) != (status == http.StatusServiceUnavailable) {
			t.Errorf("Failure(%v) = %+v", err, e)
		}
	}
	if e := QuestionFailure(ErrNoReply, "runtime"); e.Code != apierror.Unavailable || e.OutcomeUnknown ||
		e.Message != "The runtime did not answer in time; nothing was done." || e.RetryAfter == 0 {
		t.Errorf("QuestionFailure: %+v", e)
	}
	const nothing = "The runtime cannot be reached now; nothing was done."
	f(&RemoteError{"no_quota", "No quota."}, 502, "no_quota", "No quota.", false)
	f(fmt.Errorf("%w: x", ErrMalformed), 502, apierror.BadGateway, "The runtime answered with something malformed.", false)
	f(fmt.Errorf("%w: x", ErrNoReply), 503, apierror.Unavailable, "The runtime did not answer in time. It may still act on the request.", true)
	f(fmt.Errorf("%w: x", ErrNotConnected), 503, apierror.Unavailable, nothing, false)
	f(fmt.Errorf("%w: x", ErrNotSent), 503, apierror.Unavailable, nothing, false)
	f(&RefusedError{Status: 401}, 503, apierror.Unavailable, nothing, false)
	f(errors.New("BUG"), 500, apierror.Internal, "The server failed to answer this request.", false)
}
