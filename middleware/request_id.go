package middleware

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// requestIDHeader is the name in the spelling of the wire (RFC 9110 §5.1 takes any).
var requestIDHeader = []byte("X-Request-Id")

// maxRequestID bounds an inbound X-Request-Id, in bytes.
const maxRequestID = 128

// idCharacters can stand in a log line or a header unquoted.
const idCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:=+/"

// The ids that this process makes: 16 hex digits drawn once, then 16 that count.
// They are unique, not secret.
var (
	idPrefix = fmt.Sprintf("%016x", rand.Uint64())
	idCount  atomic.Uint64
)

// SetRequestID sets X-Request-Id of the reply: id when it is well-formed, else
// one of this process.
func SetRequestID(ctx *fasthttp.RequestCtx, id []byte) {
	var digits [32]byte
	if len(id) == 0 || len(id) > maxRequestID || len(bytes.TrimLeft(id, idCharacters)) > 0 {
		id = strconv.AppendUint(append(digits[:0], idPrefix...), 1<<60+idCount.Add(1), 16)
	}
	ctx.Response.Header.SetCanonical(requestIDHeader, id)
}

// RequestIDOf returns the id of this request. The string is valid only until
// the handler returns.
func RequestIDOf(c *fiber.Ctx) string { return c.GetRespHeader(fiber.HeaderXRequestID) }
