package lifecycle

import (
	"errors"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Kind classifies the failure of a part behind the gateway, so that one table
// can say how callers learn of it.
type Kind string

// The kinds of Error.
const (
	// Unavailable: no answer came, or the request could not be sent.
	Unavailable Kind = "unavailable"
	// Malformed: an integration answered with something that cannot be read.
	Malformed Kind = "malformed"
	// Rejection: an integration answered, and said no.
	Rejection Kind = "rejected"
	// Denied: billing does not allow it.
	Denied Kind = "denied"
)

// The platform's reasons for a Denied.
const (
	BillingRequired = "billing_required"
	QuotaExceeded   = "quota_exceeded"
)

// Error is a failure of the runtime or of billing in the terms of the domain.
// What it says to callers is bounded and free of secrets; see internal/events.
type Error struct {
	Kind Kind
	// Type is an integration's own word for a Rejection, billing's reason for a
	// Denied; empty where there is none.
	Type string
	// Message is one sentence for the caller.
	Message string
	// Extra holds what billing says beside a Denied: command, plan_id, usage.
	Extra map[string]any
	// Cause is for the operator's log alone; nil where Message says it all.
	Cause error
}

func (e *Error) Error() string {
	text := string(e.Kind) + ": " + e.Message
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// Failure tells why a request over Events failed, where that is no bug of this
// gateway; who names the integration that was asked, for example "runtime". An
// *Error and an integration's own error are passed on, everything else is told
// in the gateway's words. mayAct says whether a request without a reply that can be
// read may still be acted upon: a question never is.
func Failure(err error, who string, mayAct bool) error {
	var remote *events.RemoteError
	var told *Error
	switch {
	case errors.As(err, &told):
		return told
	case errors.As(err, &remote):
		return &Error{Kind: Rejection, Type: remote.Type, Message: remote.Message, Cause: err}
	case errors.Is(err, events.ErrMalformed) && mayAct:
		return &Error{Kind: Malformed, Message: "The " + who + " answered with something malformed. It may still act on the request.", Cause: err}
	case errors.Is(err, events.ErrMalformed):
		return &Error{Kind: Malformed, Message: "The " + who + " answered with something malformed.", Cause: err}
	case errors.Is(err, events.ErrNoReply) && mayAct:
		return &Error{Kind: Unavailable, Message: "The " + who + " did not answer in time. It may still act on the request.", Cause: err}
	case errors.Is(err, events.ErrNoReply):
		return &Error{Kind: Unavailable, Message: "The " + who + " did not answer in time; nothing was done.", Cause: err}
	case errors.Is(err, events.ErrNotConnected), errors.Is(err, events.ErrNotSent), errors.Is(err, events.ErrRefused):
		return &Error{Kind: Unavailable, Message: "The " + who + " cannot be reached now; nothing was done.", Cause: err}
	}
	return err
}
