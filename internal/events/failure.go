package events

import (
	"errors"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
)

// RetryAfter is when a caller may try again after Events could not be used.
const RetryAfter = 5 * time.Second

// Failure is what a caller reads when Request failed; who names the
// integration that was asked, for example "runtime". An integration's own
// error is passed on, everything else is told in the gateway's words.
func Failure(err error, who string) *apierror.Error {
	var remote *RemoteError
	switch {
	case errors.As(err, &remote):
		return apierror.Upstream(apierror.Code(remote.Type), remote.Message, err)
	case errors.Is(err, ErrMalformed):
		e := apierror.New(apierror.BadGateway, "The "+who+" answered with something malformed.")
		e.Cause = err
		return e
	case errors.Is(err, ErrNoReply):
		e := apierror.UnavailableAfter(RetryAfter,
			"The "+who+" did not answer in time. It may still act on the request.", err)
		e.OutcomeUnknown = true
		return e
	case errors.Is(err, ErrNotConnected), errors.Is(err, ErrNotSent), errors.Is(err, ErrRefused):
		return apierror.UnavailableAfter(RetryAfter, "The "+who+" cannot be reached now; nothing was done.", err)
	}
	e := apierror.New(apierror.Internal, "The server failed to answer this request.")
	e.Cause = err
	return e
}

// QuestionFailure is Failure for a request that only asks: when no reply comes,
// nothing was done, and nothing will be.
func QuestionFailure(err error, who string) *apierror.Error {
	e := Failure(err, who)
	if e.OutcomeUnknown {
		e.OutcomeUnknown = false
		e.Message = "The " + who + " did not answer in time; nothing was done."
	}
	return e
}

// Clean makes foreign text fit to be shown: see RemoteError.
func Clean(s string) string { return clean(s, maxMessage) }
