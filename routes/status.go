package routes

import (
	"bytes"
	"context"
	_ "embed"
	"log/slog"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// status answers with the bytes of the latest snapshot as they are, after the wait that
// its caller prefers. It is logged at debug only: readers poll.
func (a *api) status(c *fiber.Ctx) error {
	seen, err := a.Backend.See(c.UserContext())
	asks := a.waits != nil && asksMore(&c.Context().Request.Header)
	if err == nil && asks {
		seen, err = a.waits.status(c, seen)
	}
	if err != nil {
		return err
	}
	if a.Logger.Enabled(context.Background(), slog.LevelDebug) {
		a.Logger.LogAttrs(context.Background(), slog.LevelDebug, "read",
			slog.String("request_id", strings.Clone(middleware.RequestIDOf(c))),
			slog.String("subject", middleware.CallerIdentity(c).Subject),
			slog.Duration("duration", time.Since(c.Context().Time())))
	}
	if a.waits != nil {
		c.Context().Response.Header.SetCanonical(etag, seen.ETag)
		if seen.Moving {
			a.waits.retryAfter(c)
		}
	}
	if asks && matches(c.Context().Request.Header.PeekAll(fiber.HeaderIfNoneMatch), seen.ETag) {
		c.Status(fiber.StatusNotModified).Context().Response.Header.SetCanonical(cacheControl, noStore)
		return nil
	}
	return sendJSON(c, fiber.StatusOK, seen.Document)
}

// asksMore looks for what makes a read more than usual, in one pass, since most have none.
func asksMore(h *fasthttp.RequestHeader) bool {
	for name := range h.All() {
		if string(name) == "Prefer" || string(name) == fiber.HeaderIfNoneMatch {
			return true
		}
	}
	return false
}

// matches reports whether the fields of If-None-Match name tag, which has no comma, by
// weak comparison, or any with `*` (RFC 9110 §8.8.3, §13.1.2).
func matches(fields [][]byte, tag []byte) bool {
	for _, field := range fields {
		for each := range bytes.SplitSeq(field, []byte(",")) {
			each = bytes.TrimPrefix(bytes.Trim(each, " \t"), []byte("W/"))
			if bytes.Equal(each, tag) || string(bytes.Trim(field, " \t")) == "*" {
				return true
			}
		}
	}
	return false
}

const readyRetryAfter = time.Second // when a probe of an unready instance may look again

var okDocument = []byte(`{"ok":true}`)

// ready answers whether this instance should get traffic. It takes no token. It
// shows the reason itself: a probe has no other reader, and reasons name streams
// and stages, never secrets.
func (a *api) ready(c *fiber.Ctx) error {
	if a.Ready != nil {
		if err := a.Ready(); err != nil {
			return middleware.Unavailable(readyRetryAfter, "Not ready: "+err.Error()+".", nil)
		}
	}
	return sendJSON(c, fiber.StatusOK, okDocument)
}

// OpenAPI is the description of this API, an OpenAPI 3.1 document. It is served
// without a token: it holds nothing but what the documentation says.
//
//go:embed openapi.json
var OpenAPI []byte

// always answers as long as the process can answer at all.
func always(document []byte) fiber.Handler {
	return func(c *fiber.Ctx) error { return sendJSON(c, fiber.StatusOK, document) }
}

// Headers in the spelling of the wire.
var cacheControl, noStore, etag = []byte(fiber.HeaderCacheControl), []byte("no-store"), []byte(fiber.HeaderETag)

// sendJSON answers with a document that is not changed any more. It is kept out
// of caches, as refusals are (RFC 9111 §5.2.2.5): a state is true for this caller
// and this moment only.
func sendJSON(c *fiber.Ctx, code int, document []byte) error {
	response := &c.Context().Response
	response.SetStatusCode(code)
	response.Header.SetContentType(fiber.MIMEApplicationJSON)
	response.Header.SetCanonical(cacheControl, noStore)
	response.SetBodyRaw(document)
	return nil
}
