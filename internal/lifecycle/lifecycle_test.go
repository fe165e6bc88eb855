package lifecycle

import (
	"errors"
	"fmt"
	"testing"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

func TestFailure(t *testing.T) {
	f := func(err error, mayAct bool, kind Kind, word, message string) {
		t.Helper()
		got, ok := Failure(err, "runtime", mayAct).(*Error)
		if !ok || got.Kind != kind || got.Type != word || got.Message != message || !errors.Is(got, err) {
			t.Errorf("Failure(%v) = %+v", err, got)
		}
	}
	const nothing = "The runtime cannot be reached now; nothing was done."
	for _, mayAct := range []bool{false, true} {
		f(&events.RemoteError{Type: "no_quota", Message: "No quota."}, mayAct, Rejection, "no_quota", "No quota.")
		f(fmt.Errorf("%w: x", events.ErrNotSent), mayAct, Unavailable, "", nothing)
		f(&events.RefusedError{Status: 401}, mayAct, Unavailable, "", nothing)
	}
	f(fmt.Errorf("%w: x", events.ErrMalformed), false, Malformed, "", "The runtime answered with something malformed.")
	f(fmt.Errorf("%w: x", events.ErrMalformed), true, Malformed, "", "The runtime answered with something malformed. It may still act on the request.")
	f(fmt.Errorf("%w: x", events.ErrNoReply), false, Unavailable, "", "The runtime did not answer in time; nothing was done.")
	f(fmt.Errorf("%w: x", events.ErrNoReply), true, Unavailable, "", "The runtime did not answer in time. It may still act on the request.")
	if bug := errors.New("BUG"); Failure(bug, "runtime", true) != bug {
		t.Error("a bug is passed off as something else")
	}
}
