package middleware

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// requestIDHeader is the name in the spelling of the wire (RFC 9110 §5.1 takes any).
var requestIDHeader = []byte("X-Request-Id")

// maxRequestID bounds an inbound X-Request-Id, in bytes.
const maxRequestID = 128

// RequestIDs hands out request ids: 16 hex digits drawn once, then 16 that
// count. They are unique, not secret.
type RequestIDs struct {
	prefix  [16]byte // in hex
	counter atomic.Uint64
}

// NewRequestIDs draws the prefix of this process.
func NewRequestIDs() *RequestIDs {
	ids := &RequestIDs{}
	var drawn [8]byte
	_, _ = rand.Read(drawn[:]) // never fails: crypto/rand ends the process instead
	hex.Encode(ids.prefix[:], drawn[:])
	return ids
}

// Append appends a fresh id to b.
func (r *RequestIDs) Append(b []byte) []byte {
	b = append(b, r.prefix[:]...)
	var count [8]byte
	binary.BigEndian.PutUint64(count[:], r.counter.Add(1))
	return hex.AppendEncode(b, count[:])
}

// RequestID takes the caller's X-Request-Id when it is well-formed, else makes
// one, and answers with it.
func RequestID(ids *RequestIDs) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ids.Answer(c.Context())
		return c.Next()
	}
}

// Answer sets X-Request-Id of the reply, as RequestID does.
func (r *RequestIDs) Answer(ctx *fasthttp.RequestCtx) {
	id := ctx.Request.Header.Peek(fiber.HeaderXRequestID)
	if !wellFormedID(id) {
		var buffer [32]byte
		id = r.Append(buffer[:0])
	}
	ctx.Response.Header.SetCanonical(requestIDHeader, id)
}

// RequestIDOf returns the id of this request. The string is valid only until
// the handler returns.
func RequestIDOf(c *fiber.Ctx) string { return c.GetRespHeader(fiber.HeaderXRequestID) }

// wellFormedID accepts what can stand in a log line or a header unquoted.
func wellFormedID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '=', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}

// The header of every reply, in the spelling of the wire.
var cacheControlHeader, noStoreValue = []byte(fiber.HeaderCacheControl), []byte("no-store")

// NoStore keeps every reply out of caches (RFC 9111 §5.2.2.5): a state or a
// refusal is true for this caller and this moment only.
func NoStore() fiber.Handler {
	return func(c *fiber.Ctx) error {
		c.Response().Header.SetCanonical(cacheControlHeader, noStoreValue)
		return c.Next()
	}
}
