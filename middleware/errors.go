package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
)

// Code is what went wrong, in this gateway's words; the `error.type` of the
// envelope unless Error.Type says otherwise.
type Code string

// The codes.
const (
	CodeInvalidAuth         Code = "invalid_auth"
	CodeInsufficientAccess  Code = "insufficient_access"
	CodeBadRequest          Code = "bad_request"
	CodePaymentRequired     Code = "billing_required"
	CodeNotFound            Code = "not_found"
	CodeMethodNotAllowed    Code = "method_not_allowed"
	CodeRequestTimeout      Code = "request_timeout"
	CodeRequestBodyTooLarge Code = "request_body_too_large"
	CodeHeaderTooLarge      Code = "request_header_fields_too_large"
	CodeTooManyRequests     Code = "too_many_requests"
	CodeInternal            Code = "internal_error"
	CodeBadGateway          Code = "bad_gateway"
	CodeUnavailable         Code = "backend_unavailable"
)

// statuses is the only place where a code becomes an HTTP status.
var statuses = map[Code]int{
	CodeInvalidAuth:         http.StatusUnauthorized,
	CodeInsufficientAccess:  http.StatusForbidden,
	CodeBadRequest:          http.StatusBadRequest,
	CodePaymentRequired:     http.StatusPaymentRequired,
	CodeNotFound:            http.StatusNotFound,
	CodeMethodNotAllowed:    http.StatusMethodNotAllowed,
	CodeRequestTimeout:      http.StatusRequestTimeout,
	CodeRequestBodyTooLarge: http.StatusRequestEntityTooLarge,
	CodeHeaderTooLarge:      http.StatusRequestHeaderFieldsTooLarge,
	CodeTooManyRequests:     http.StatusTooManyRequests,
	CodeInternal:            http.StatusInternalServerError,
	CodeBadGateway:          http.StatusBadGateway,
	CodeUnavailable:         http.StatusServiceUnavailable,
}

// kinds says which code a failure of a backend or of billing has.
var kinds = map[backend.Kind]Code{
	backend.Unavailable: CodeUnavailable,
	backend.Malformed:   CodeBadGateway,
	backend.Rejection:   CodeBadGateway,
	backend.Denied:      CodePaymentRequired,
}

// retryAfter is when a caller may try again after a part behind the gateway
// could not be used.
const retryAfter = 5 * time.Second

const internalMessage = "The server failed to answer this request."

// Error is a failure on its way to a caller. Message goes to the caller, Cause
// to the operator's log; neither holds a token, a secret or a byte of a request
// header.
type Error struct {
	// Code decides the status.
	Code Code
	// Type replaces Code as error.type: billing's reason, or the type of an
	// integration's own error; empty for none.
	Type string
	// Reason tells refusals of one code apart in metrics, as one of a few
	// fixed words; empty means the code itself.
	Reason string
	// Message is one sentence for the caller.
	Message string
	// Extra holds further members of the error object, for example the
	// `command` of a denial. It cannot replace the members of the envelope.
	Extra map[string]any
	// Headers are sent with the reply, for example WWW-Authenticate or Allow.
	Headers []Header
	// RetryAfter is sent as Retry-After in whole seconds when positive.
	RetryAfter time.Duration
	// Cause is for the operator's log only.
	Cause error
}

// Header is one header of a reply, its name in canonical spelling
// (net/textproto.CanonicalMIMEHeaderKey).
type Header struct{ Name, Value string }

// NewError returns an Error that says all there is to say to its caller.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Unavailable is a 503 that asks the caller to come back after wait; 0 means
// the 5 s of a part behind the gateway that cannot be used.
func Unavailable(wait time.Duration, message string, cause error) *Error {
	if wait <= 0 {
		wait = retryAfter
	}
	return &Error{Code: CodeUnavailable, Message: message, RetryAfter: wait, Cause: cause}
}

// Status is the HTTP status of the reply.
func (e *Error) Status() int {
	if status, ok := statuses[e.Code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// ErrorType is the `error.type` that the caller reads.
func (e *Error) ErrorType() string {
	if e.Type != "" {
		return e.Type
	}
	return string(e.Code)
}

func (e *Error) Error() string {
	text := e.ErrorType() + ": " + e.Message
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// AsError turns any error into an *Error: one found in its chain, a
// *backend.Error by its kind, Fiber's own by their code, and any other into an
// internal error that keeps err as its cause.
func AsError(err error) *Error {
	if e, ok := err.(*Error); ok { // as nearly all are
		return e
	}
	var (
		e *Error
		b *backend.Error
		f *fiber.Error
	)
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &b):
		return fromBackend(b)
	// The texts of Fiber's errors may carry request bytes and are dropped.
	case errors.As(err, &f) && f.Code == fiber.StatusNotFound:
		return NewError(CodeNotFound, "There is nothing at this path.")
	case errors.As(err, &f) && f.Code == fiber.StatusMethodNotAllowed:
		return NewError(CodeMethodNotAllowed, "This path does not take this method.")
	}
	return &Error{Code: CodeInternal, Message: internalMessage, Cause: err}
}

func fromBackend(b *backend.Error) *Error {
	code, ok := kinds[b.Kind]
	if !ok {
		return &Error{Code: CodeInternal, Message: internalMessage, Cause: b}
	}
	e := &Error{Code: code, Type: b.Type, Message: b.Message, Extra: b.Extra, Cause: b.Cause}
	switch code {
	case CodeUnavailable:
		e.RetryAfter = retryAfter
	case CodePaymentRequired:
		e.Reason = deniedReason(b.Type)
	}
	return e
}

// deniedReason bounds billing's reasons to those that are counted apart: any
// other word would be a time series of its own.
func deniedReason(reason string) string {
	switch reason {
	case backend.BillingRequired, backend.QuotaExceeded:
		return reason
	}
	return "denied"
}

// Errors is the one place where a failed request becomes a reply: every error
// that the handlers behind it return, and every panic in them, is rendered as
// the envelope. An error with a cause also makes one log line, which holds what
// the caller never sees.
func Errors(logger *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = &panicError{value: r, stack: debug.Stack()}
			}
			if err != nil {
				answer(c, logger, err)
				err = nil
			}
		}()
		return c.Next()
	}
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func answer(c *fiber.Ctx, logger *slog.Logger, err error) {
	e := AsError(err)
	writeError(c.Context(), e, OutcomeOf(c))
	c.Locals(refusalKey{}, e)
	// An error without a cause says all there is to say to its caller.
	if e.Cause == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", strings.Clone(RequestIDOf(c))), // a handler may keep it
		slog.String("route", c.Route().Path),
		slog.Int("status", e.Status()),
		slog.String("type", e.ErrorType()),
		slog.String("cause", e.Cause.Error()),
		slog.String("do", remedy(e.Code)),
	}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	logger.LogAttrs(c.UserContext(), slog.LevelError, "request failed", attrs...)
}

// remedy tells the operator where to look.
func remedy(code Code) string {
	switch code {
	case CodeInternal:
		return "report this as a bug; the process goes on"
	case CodeUnavailable:
		return "look at what the cause names: the Events API, the provider token, or the disk of the usage outbox; doctor and bus_vm_events_stream_up say what is missing"
	}
	return "look at the integration that answered"
}
