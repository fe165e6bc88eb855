package middleware

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"
	"github.com/valyala/fasthttp"
)

// Code is what went wrong, in this gateway's words: the `error.type` of the
// envelope unless Error.Type says otherwise, and its HTTP status.
type Code struct {
	Type   string
	Status int
}

// The codes: the only place where a failure gets its HTTP status.
var (
	CodeInvalidAuth         = Code{"invalid_auth", http.StatusUnauthorized}
	CodeInsufficientAccess  = Code{"insufficient_access", http.StatusForbidden}
	CodeBadRequest          = Code{"bad_request", http.StatusBadRequest}
	CodePaymentRequired     = Code{"billing_required", http.StatusPaymentRequired}
	CodeNotFound            = Code{"not_found", http.StatusNotFound}
	CodeMethodNotAllowed    = Code{"method_not_allowed", http.StatusMethodNotAllowed}
	CodeRequestTimeout      = Code{"request_timeout", http.StatusRequestTimeout}
	CodeSuperseded          = Code{"superseded", http.StatusConflict}
	CodeRequestBodyTooLarge = Code{"request_body_too_large", http.StatusRequestEntityTooLarge}
	CodeHeaderTooLarge      = Code{"request_header_fields_too_large", http.StatusRequestHeaderFieldsTooLarge}
	CodeConflict            = Code{"operation_in_progress", http.StatusConflict}
	CodeMismatch            = Code{"idempotency_mismatch", http.StatusUnprocessableEntity}
	CodeTooManyRequests     = Code{"too_many_requests", http.StatusTooManyRequests}
	CodeInternal            = Code{"internal_error", http.StatusInternalServerError}
	CodeBadGateway          = Code{"bad_gateway", http.StatusBadGateway}
	CodeRuntimeFailed       = Code{"runtime_failed", http.StatusBadGateway}
	CodeUnavailable         = Code{"backend_unavailable", http.StatusServiceUnavailable}
	CodeVersion             = Code{"http_version_not_supported", http.StatusHTTPVersionNotSupported}
)

// retryAfter is when a caller may try again after a part behind the gateway
// could not be used.
const retryAfter = 5 * time.Second

// Error is a failure on its way to a caller. Message goes to the caller, Cause
// to the operator's log; neither holds a token, a secret or a byte of a request
// header.
type Error struct {
	Code Code // decides status and type; without one they are CodeInternal's
	// Type replaces that of Code as error.type: billing's reason, or the type of
	// an integration's own error; empty for none.
	Type string
	// Reason tells refusals of one code apart in metrics, as one of a few
	// fixed words; empty means the code itself.
	Reason     string
	Message    string           // one sentence for the caller
	Denial     lifecycle.Denial // further members of the error object, where billing said no
	RequestID  string           // replaces that of this request in the body; empty for none
	Headers    []Header         // of the reply, for example WWW-Authenticate or Allow
	RetryAfter time.Duration    // sent when positive, in whole seconds rounded up (RFC 9110 §10.2.3)
	Cause      error            // for the operator's log only
}

// Header is one header of a reply.
type Header struct{ Name, Value string }

// NewError returns an Error that says all there is to say to its caller.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Unavailable is a 503 that asks the caller to come back after wait; 0 means
// the 5 s of a part behind the gateway that cannot be used.
func Unavailable(wait time.Duration, message string, cause error) *Error {
	return &Error{Code: CodeUnavailable, Message: message, RetryAfter: cmp.Or(wait, retryAfter), Cause: cause}
}

// Status is the HTTP status of the reply.
func (e *Error) Status() int { return cmp.Or(e.Code.Status, CodeInternal.Status) }

// ErrorType is the `error.type` that the caller reads.
func (e *Error) ErrorType() string { return cmp.Or(e.Type, e.Code.Type, CodeInternal.Type) }

// reason is what e is counted as: never its type, which may be an integration's word.
func (e *Error) reason() string { return cmp.Or(e.Reason, e.Code.Type, CodeInternal.Type) }

func (e *Error) Error() string {
	text := e.ErrorType() + ": " + e.Message
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// kinds are the codes of a *lifecycle.Error. Every other kind is internal.
var kinds = map[lifecycle.Kind]Code{
	lifecycle.Unavailable: CodeUnavailable, lifecycle.Malformed: CodeBadGateway, lifecycle.Rejection: CodeBadGateway, lifecycle.Denied: CodePaymentRequired,
}

// AsError turns any error into an *Error: one found in its chain, a
// *lifecycle.Error by its kind, and any other into an internal error that keeps
// err as its cause.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	b, ok := errors.AsType[*lifecycle.Error](err)
	if !ok || kinds[b.Kind] == (Code{}) {
		return &Error{Code: CodeInternal, Message: "The server failed to answer this request.", Cause: err}
	}
	e := &Error{Code: kinds[b.Kind], Type: b.Type, Message: b.Message, Denial: b.Denial, Cause: b.Cause}
	switch {
	case b.Kind == lifecycle.Unavailable:
		e.RetryAfter = retryAfter
	case b.Type == lifecycle.BillingRequired, b.Type == lifecycle.QuotaExceeded:
		e.Reason = b.Type
	case b.Kind == lifecycle.Denied:
		e.Reason = "denied" // any other word of billing's would be a time series of its own
	}
	return e
}

// failed is the one place where a failed request becomes a reply: an error that the
// handlers behind c return, or a panic in them, is rendered as the envelope. An error
// with a cause also makes one log line, which holds what the caller never sees.
func failed(c *fiber.Ctx, logger *slog.Logger) (e *Error) {
	var err error
	defer func() {
		var stack slog.Attr // which is left out
		if r := recover(); r != nil {
			err, stack = fmt.Errorf("panic: %v", r), slog.String("stack", string(debug.Stack()))
		}
		if err == nil {
			return
		}
		e = AsError(err)
		WriteError(c.Context(), e)
		if e.Cause == nil {
			return // it says all there is to say to its caller
		}
		logger.ErrorContext(c.UserContext(), "request failed", "request_id", strings.Clone(RequestIDOf(c)), // a handler may keep it
			"route", c.Route().Path, "status", e.Status(), "type", e.ErrorType(), "cause", e.Cause.Error(), "do", remedy(e.Code), stack)
	}()
	err = c.Next()
	return nil
}

// remedy tells the operator where to look.
func remedy(code Code) string {
	switch code {
	case CodeInternal:
		return "report this as a bug; the process goes on"
	case CodeUnavailable:
		return "look at what the cause names: the Events API, the provider token, the integration that did not answer, or the operations store; doctor says what is missing"
	}
	return "look at the integration that answered"
}

// outcomeKey is where SetOutcome leaves the outcome of a write.
type outcomeKey struct{}

// SetOutcome names what has become of a write so far. The envelope of a failure
// shows it as error.outcome, so that a program need not read the message.
func SetOutcome(c *fiber.Ctx, outcome lifecycle.Outcome) { c.Locals(outcomeKey{}, outcome) }

// OutcomeOf returns what SetOutcome said last, empty before it.
func OutcomeOf(ctx *fasthttp.RequestCtx) lifecycle.Outcome {
	outcome, _ := ctx.UserValue(outcomeKey{}).(lifecycle.Outcome)
	return outcome
}

// ordinaryEnvelope is room for any envelope without a denial, in bytes.
const ordinaryEnvelope = 256

// WriteError renders e onto a reply that has no body yet, at the fasthttp
// level, where requests that never became a Fiber context fail too.
func WriteError(ctx *fasthttp.RequestCtx, e *Error) {
	header := &ctx.Response.Header
	requestID := utils.UnsafeString(header.Peek(fiber.HeaderXRequestID)) // only copied
	ctx.Response.ResetBody()
	ctx.SetStatusCode(e.Status())
	header.SetContentType(fiber.MIMEApplicationJSON)
	header.Set(fiber.HeaderCacheControl, "no-store")
	for _, h := range e.Headers {
		header.Set(h.Name, h.Value)
	}
	if e.RetryAfter > 0 {
		header.Set(fiber.HeaderRetryAfter, strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	var ordinary [ordinaryEnvelope]byte
	ctx.Response.AppendBody(e.appendEnvelope(ordinary[:0], OutcomeOf(ctx), cmp.Or(e.RequestID, requestID)))
}

// appendEnvelope appends {"error":{"type","message","outcome"?,…,"request_id"?}}
// to b, compact. It is written by hand because a flood of refusals must cost
// less than as many valid requests.
func (e *Error) appendEnvelope(b []byte, outcome lifecycle.Outcome, requestID string) []byte {
	b = appendJSON(append(b, `{"error":{"type":`...), e.ErrorType())
	b = appendJSON(append(b, `,"message":`...), e.Message)
	if outcome != "" {
		b = appendJSON(append(b, `,"outcome":`...), string(outcome))
	}
	if e.Code == CodePaymentRequired {
		if denial := encode(e.Denial); len(denial) > len(`{}`) {
			b = append(append(b, ','), denial[1:len(denial)-1]...)
		}
	}
	if requestID != "" {
		b = appendJSON(append(b, `,"request_id":`...), requestID)
	}
	return append(b, `}}`...)
}

// appendJSON quotes text, with the encoder only where JSON does not show it as
// it is, as it does our own messages.
func appendJSON(b []byte, text string) []byte {
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		return append(b, encode(text)...)
	}
	return append(append(append(b, '"'), text...), '"')
}

// encode is json.Marshal without its HTML escapes, which no reader here needs.
// What cannot be encoded leaves nothing behind.
func encode(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
