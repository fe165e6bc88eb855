package middleware

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/backend"
)

// outcomeKey is where SetOutcome leaves the outcome of a write.
type outcomeKey struct{}

// SetOutcome names what has become of a write so far. The envelope of a failure
// shows it as error.outcome, so that a program need not read the message.
func SetOutcome(c *fiber.Ctx, outcome backend.Outcome) { c.Locals(outcomeKey{}, outcome) }

// OutcomeOf returns what SetOutcome said last, empty before it.
func OutcomeOf(c *fiber.Ctx) backend.Outcome {
	outcome, _ := c.Locals(outcomeKey{}).(backend.Outcome)
	return outcome
}

// ordinaryEnvelope is room for any envelope without extra members, in bytes.
const ordinaryEnvelope = 256

// WriteError renders e onto a reply that has no body yet, at the fasthttp
// level, where requests that never became a Fiber context fail too.
func WriteError(ctx *fasthttp.RequestCtx, e *Error) { writeError(ctx, e, "") }

func writeError(ctx *fasthttp.RequestCtx, e *Error, outcome backend.Outcome) {
	header := &ctx.Response.Header
	requestID := utils.UnsafeString(header.Peek(fiber.HeaderXRequestID)) // only copied
	ctx.Response.ResetBody()
	ctx.SetStatusCode(e.Status())
	header.SetContentType(fiber.MIMEApplicationJSON)
	header.SetCanonical(cacheControlHeader, noStoreValue)
	for _, h := range e.Headers {
		header.SetCanonical(utils.UnsafeBytes(h.Name), utils.UnsafeBytes(h.Value))
	}
	if seconds := e.retryAfterSeconds(); seconds != "" {
		header.Set(fiber.HeaderRetryAfter, seconds)
	}
	var ordinary [ordinaryEnvelope]byte
	ctx.Response.AppendBody(e.appendEnvelope(ordinary[:0], outcome, requestID))
}

// appendEnvelope appends {"error":{"type","message","outcome"?,…,"request_id"?}}
// to b, compact. An Extra member that cannot be encoded is left out.
func (e *Error) appendEnvelope(b []byte, outcome backend.Outcome, requestID string) []byte {
	b = append(b, `{"error":{"type":`...)
	b = appendJSON(b, e.ErrorType())
	b = append(b, `,"message":`...)
	b = appendJSON(b, e.Message)
	if outcome != "" {
		b = append(b, `,"outcome":`...)
		b = appendJSON(b, string(outcome))
	}
	for _, name := range e.extraNames() {
		value, err := encode(e.Extra[name])
		if err != nil {
			continue
		}
		b = append(b, ',')
		b = appendJSON(b, name)
		b = append(b, ':')
		b = append(b, value...)
	}
	if requestID != "" {
		b = append(b, `,"request_id":`...)
		b = appendJSON(b, requestID)
	}
	return append(b, `}}`...)
}

// extraNames are the members of Extra in a stable order.
func (e *Error) extraNames() []string {
	if len(e.Extra) == 0 {
		return nil
	}
	names := make([]string, 0, len(e.Extra))
	for name := range e.Extra {
		switch name {
		case "type", "message", "outcome", "request_id":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// retryAfterSeconds is the value of Retry-After, rounded up to whole seconds
// (RFC 9110 §10.2.3), or "" when there is none.
func (e *Error) retryAfterSeconds() string {
	if e.RetryAfter <= 0 {
		return ""
	}
	return strconv.Itoa(int(math.Ceil(float64(e.RetryAfter) / float64(time.Second))))
}

func appendJSON(b []byte, text string) []byte {
	if plain(text) {
		return append(append(append(b, '"'), text...), '"')
	}
	quoted, _ := encode(text) // a string always encodes
	return append(b, quoted...)
}

// plain reports text that JSON shows as it is, as our own messages are.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// encode is json.Marshal without its HTML escapes, which no reader here needs.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
