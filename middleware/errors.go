package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
)

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
	e := apierror.From(translate(err))
	WriteError(c.Context(), e)
	c.Locals(refusalKey{}, e)
	// An error without a cause says all there is to say to its caller.
	if e.Cause == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", strings.Clone(RequestIDOf(c))), // a handler may keep it
		slog.String("route", c.Route().Path),
		slog.Int("status", e.HTTPStatus()),
		slog.String("type", string(e.Code)),
		slog.String("cause", e.Cause.Error()),
		slog.String("do", remedy(e.HTTPStatus())),
	}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	logger.LogAttrs(c.UserContext(), slog.LevelError, "request failed", attrs...)
}

// remedy tells the operator where to look. It goes by the status, because the
// code of a 502 is an integration's word.
func remedy(status int) string {
	switch status {
	case fiber.StatusInternalServerError:
		return "report this as a bug; the process goes on"
	case fiber.StatusServiceUnavailable:
		return "look at what the cause names: the Events API, the provider token, or the disk of the usage outbox; /readyz says what is missing"
	}
	return "look at the integration that answered"
}

// translate gives Fiber's own errors a code of this API. Their texts may carry
// request bytes and are dropped.
func translate(err error) error {
	if _, ours := err.(*apierror.Error); ours {
		return err
	}
	var f *fiber.Error
	if !errors.As(err, &f) {
		return err
	}
	switch f.Code {
	case fiber.StatusNotFound:
		return apierror.New(apierror.NotFound, "There is nothing at this path.")
	case fiber.StatusMethodNotAllowed:
		return apierror.New(apierror.MethodNotAllowed, "This path does not take this method.")
	}
	return err
}

// ordinaryEnvelope is room for any envelope without extra members, in bytes.
const ordinaryEnvelope = 256

// WriteError renders e onto a reply that has no body yet, at the fasthttp
// level, where requests that never became a Fiber context fail too.
func WriteError(ctx *fasthttp.RequestCtx, e *apierror.Error) {
	header := &ctx.Response.Header
	requestID := utils.UnsafeString(header.Peek(fiber.HeaderXRequestID)) // only copied
	ctx.Response.ResetBody()
	ctx.SetStatusCode(e.HTTPStatus())
	header.SetContentType(fiber.MIMEApplicationJSON)
	header.SetCanonical(cacheControlHeader, noStoreValue)
	for _, h := range e.Headers {
		header.SetCanonical(utils.UnsafeBytes(h.Name), utils.UnsafeBytes(h.Value))
	}
	if seconds := e.RetryAfterSeconds(); seconds != "" {
		header.Set(fiber.HeaderRetryAfter, seconds)
	}
	var ordinary [ordinaryEnvelope]byte
	ctx.Response.AppendBody(e.AppendEnvelope(ordinary[:0], requestID))
}
