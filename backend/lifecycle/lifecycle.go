// Package lifecycle is the vocabulary of a write: what was asked, of whom, how
// it ended, and how the parts behind the gateway fail. Another application that
// brings a backend or a store of operations speaks it, too. It imports events to
// classify its failures.
package lifecycle

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Runtime is the one runtime behind this gateway, as the platform names it.
const Runtime = "default"

// Action is a lifecycle write.
type Action string

const (
	Start Action = "start"
	Stop  Action = "stop"
)

// Target is the state that a leads to.
func (a Action) Target() string { return map[Action]string{Start: "ready", Stop: "stopped"}[a] }

// Opposite is the action that leads elsewhere.
func (a Action) Opposite() Action { return map[Action]Action{Start: Stop, Stop: Start}[a] }

// Operation is one authorised lifecycle write.
type Operation struct {
	ID        string // a UUID; usage records and the correlation with the worker derive from it
	Action    Action
	Account   string // the subject of the caller's token, a UUID where it is billed
	RequestID string // the X-Request-Id of the caller's request

	RequestedAt time.Time    // when the gateway took it on
	Permit      func() error // when set, asked last before it is sent: after an error it is not
}

// Outcome says how an operation ended.
type Outcome string

const (
	Accepted Outcome = "accepted" // the runtime took the operation on
	Rejected Outcome = "rejected" // the runtime answered, and said no
	NotSent  Outcome = "not_sent" // the operation never reached the runtime
	// Unknown: the operation was sent, and no reply that can be read came back
	// in time; the runtime may still act on it.
	Unknown Outcome = "unknown"
)

// Known reports one of the outcomes above.
func (o Outcome) Known() bool {
	return slices.Contains([]Outcome{Accepted, Rejected, NotSent, Unknown}, o)
}

// Kind classifies the failure of a part behind the gateway, so that one table
// can say how callers learn of it.
type Kind string

const (
	Unavailable Kind = "unavailable" // no answer came, or the request could not be sent
	Malformed   Kind = "malformed"   // an integration's answer cannot be read
	Rejection   Kind = "rejected"    // an integration answered, and said no
	Denied      Kind = "denied"      // billing does not allow it
)

// The platform's reasons for a Denied.
const (
	BillingRequired = "billing_required"
	QuotaExceeded   = "quota_exceeded"
)

// Error is a failure of the runtime or of billing in the terms of the domain.
// What it says to callers is bounded and free of secrets; see internal/events.
type Error struct {
	Kind    Kind
	Type    string // an integration's word for a Rejection, billing's reason for a Denied; or empty
	Message string // one sentence for the caller
	Denial  Denial // what billing says beside a Denied
	Cause   error  // for the operator's log alone; nil where Message says it all
}

// Denial is what a caller who was denied something can do about it, in the
// words of billing, each empty where it says nothing. Usage is any JSON value.
type Denial struct {
	Action          string          `json:"action,omitempty"`
	Command         string          `json:"command,omitempty"`
	PlanID          string          `json:"plan_id,omitempty"`
	RecommendedPlan string          `json:"recommended_plan,omitempty"`
	Usage           json.RawMessage `json:"usage,omitempty"`
}

func (e *Error) Error() string {
	text := string(e.Kind) + ": " + e.Message
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// Failure says why a request over Events failed, where that is no bug of this
// gateway; who names the integration that was asked, for example "runtime". An
// *Error and an integration's own error are passed on, everything else is said
// in the gateway's words. mayAct says whether a request without a reply that can be
// read may still be acted upon: a question never is.
func Failure(err error, who string, mayAct bool) error {
	var remote *events.RemoteError
	var known *Error
	e := &Error{Kind: Unavailable, Cause: err}
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &remote):
		return &Error{Kind: Rejection, Type: remote.Type, Message: remote.Message, Cause: err}
	case errors.Is(err, events.ErrMalformed):
		e.Kind, e.Message = Malformed, "answered with something malformed."
	case errors.Is(err, events.ErrNoReply) && mayAct:
		e.Message = "did not answer in time."
	case errors.Is(err, events.ErrNoReply):
		e.Message = "did not answer in time; nothing was done."
	case errors.Is(err, events.ErrNotSent):
		mayAct, e.Message = false, "cannot be reached now; nothing was done."
	default:
		return err
	}
	e.Message = "The " + who + " " + e.Message
	if mayAct {
		e.Message += " It may still act on the request."
	}
	return e
}
