// Package apierror is the one error type between a cause and the reply a
// caller reads.
//
// An Error carries two texts for two readers: Message goes to the caller in
// the envelope {"error":{"type","message"}}, Cause goes to the operator's log.
// Neither ever holds a token, a secret or a byte of a request header.
package apierror

import (
	"errors"
	"net/http"
	"time"
)

// Code is the machine-readable `error.type` of the envelope.
type Code string

// The codes this gateway makes itself. A 402 carries the reason that billing
// gave instead (see Denied), a 502 may carry the type of an integration's own
// error (see Upstream).
const (
	InvalidAuth         Code = "invalid_auth"
	InsufficientAccess  Code = "insufficient_access"
	BadRequest          Code = "bad_request"
	NotFound            Code = "not_found"
	MethodNotAllowed    Code = "method_not_allowed"
	RequestTimeout      Code = "request_timeout"
	RequestBodyTooLarge Code = "request_body_too_large"
	HeaderTooLarge      Code = "request_header_fields_too_large"
	TooManyRequests     Code = "too_many_requests"
	Internal            Code = "internal_error"
	BadGateway          Code = "bad_gateway"
	Unavailable         Code = "backend_unavailable"
)

// statuses is the only place where a code becomes an HTTP status.
var statuses = map[Code]int{
	InvalidAuth:         http.StatusUnauthorized,
	InsufficientAccess:  http.StatusForbidden,
	BadRequest:          http.StatusBadRequest,
	NotFound:            http.StatusNotFound,
	MethodNotAllowed:    http.StatusMethodNotAllowed,
	RequestTimeout:      http.StatusRequestTimeout,
	RequestBodyTooLarge: http.StatusRequestEntityTooLarge,
	HeaderTooLarge:      http.StatusRequestHeaderFieldsTooLarge,
	TooManyRequests:     http.StatusTooManyRequests,
	Internal:            http.StatusInternalServerError,
	BadGateway:          http.StatusBadGateway,
	Unavailable:         http.StatusServiceUnavailable,
}

// Error is a failure on its way to a caller.
type Error struct {
	// Code is rendered as error.type.
	Code Code
	// Status overrides the status of Code; zero means the table's.
	Status int
	// Reason tells refusals of one code apart in metrics, as one of a few
	// fixed words; empty means the code itself.
	Reason string
	// Message is one sentence for the caller.
	Message string
	// Extra holds further members of the error object, for example the
	// `command` of a billing denial. It cannot replace type or message.
	Extra map[string]any
	// Headers are sent with the reply, for example WWW-Authenticate or Allow.
	Headers []Header
	// RetryAfter is sent as Retry-After in whole seconds when positive.
	RetryAfter time.Duration
	// OutcomeUnknown marks a request that may have been carried out all the
	// same: it was published, and no reply came in time.
	OutcomeUnknown bool
	// Cause is for the operator's log only.
	Cause error
}

// Header is one header of a reply, its name in canonical spelling
// (net/textproto.CanonicalMIMEHeaderKey).
type Header struct{ Name, Value string }

// New returns an Error with the status of its code.
func New(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Denied is a 402: the billing reason becomes the type, and members such as
// `command`, `plan_id` or `usage` travel beside it.
func Denied(reason Code, message string, extra map[string]any) *Error {
	return &Error{Code: reason, Status: http.StatusPaymentRequired, Message: message, Extra: extra}
}

// Upstream is a 502 that passes on the type and message of an integration's
// own error. The caller of Upstream bounds both and strips secrets.
func Upstream(code Code, message string, cause error) *Error {
	return &Error{Code: code, Status: http.StatusBadGateway, Message: message, Cause: cause}
}

// UnavailableAfter is a 503 that asks the caller to come back.
func UnavailableAfter(wait time.Duration, message string, cause error) *Error {
	return &Error{Code: Unavailable, Message: message, RetryAfter: wait, Cause: cause}
}

// HTTPStatus is the status of the reply.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Message
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// From turns any error into an *Error: one found in its chain, else an
// internal error that keeps err as its cause.
func From(err error) *Error {
	if e, ok := err.(*Error); ok { // as nearly all are
		return e
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Message: "The server failed to answer this request.", Cause: err}
}
