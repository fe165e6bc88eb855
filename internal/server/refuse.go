package server

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

var errOverloaded = &middleware.Error{
	Code: middleware.CodeUnavailable, Reason: "connections", Message: "This server has too many connections.",
	RetryAfter: time.Second,
}

// screen stops what Fiber would answer past the envelope, or process although
// two readers may disagree on where the request ends.
func (s *Server) screen(ctx *fasthttp.RequestCtx) *middleware.Error {
	if e := ambiguous(ctx.Request.Header.RawHeaders()); e != nil {
		ctx.SetConnectionClose() // whatever follows may be part of this request
		onConnection(ctx, (*fastconn.Conn).LingerOnClose)
		return e
	}
	if ctx.ConnRequestNum() == 1 && s.open.Load() > int64(s.config.MaxConnections) {
		if _, ok := ctx.Conn().(*fastconn.Conn); ok {
			ctx.SetConnectionClose()
			return errOverloaded
		}
	}
	if !ctx.IsGet() && !slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
		// Like Fiber, by the path as it was sent: // is not /.
		return routes.Refusal(string(ctx.URI().PathOriginal()))
	}
	return nil
}

// bounding is a listener that tells the connections beyond the overflow at once
// that there are too many, and closes them.
type bounding struct {
	net.Listener
	server *Server
}

func (l bounding) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.server.open.Load() < int64(l.server.config.MaxConnections)+Overflow {
			return c, err
		}
		l.server.refuseUnread(c, errOverloaded)
		_ = c.Close()
	}
}

// bound is called between the headers and the body. Routes go by the target as
// it was sent, so one that is too long is of no route; parsing it would cost
// more than all else.
func bound(header *fasthttp.RequestHeader) (limits fasthttp.RequestConfig) {
	if len(header.RequestURI()) > maxTarget {
		header.SetRequestURI("/")
	}
	const chunked = -1
	if header.ContentLength() == chunked {
		limits.MaxRequestBodySize = maxChunkedBody
	}
	return limits
}

// refuse answers a request that could not be read. It never shows why in
// fasthttp's words: they may hold bytes of the request.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	onConnection(ctx, (*fastconn.Conn).LingerOnClose)
	onConnection(ctx, (*fastconn.Conn).StartReply)
	ctx.Response.SkipBody = ctx.IsHead()
	s.answer(ctx, unreadable(err))
}

func (s *Server) answer(ctx *fasthttp.RequestCtx, e *middleware.Error) {
	middleware.SetRequestID(ctx, nil)
	middleware.WriteError(ctx, e)
	s.unrouted.CountRefusal(e)
}

// refuseSilence tells a client that connected and sent nothing why its
// connection ends (RFC 9110 §15.5.9). fasthttp does so by itself only when it
// waits with a buffer.
func (s *Server) refuseSilence(c net.Conn) { s.refuseUnread(c, unreadable(os.ErrDeadlineExceeded)) }

// refuseUnread answers a connection that no request was read of.
func (s *Server) refuseUnread(c net.Conn, e *middleware.Error) {
	var ctx fasthttp.RequestCtx
	ctx.Init2(c, silent, true)
	s.answer(&ctx, e)
	ctx.SetConnectionClose()
	_, _ = ctx.Response.WriteTo(c)
}

// onConnection calls do with the connection of ctx; a benchmark's is another.
func onConnection(ctx *fasthttp.RequestCtx, do func(*fastconn.Conn)) {
	if c, ok := ctx.Conn().(*fastconn.Conn); ok {
		do(c)
	}
}

// unreadable names what was wrong with a request that fasthttp could not read.
func unreadable(err error) *middleware.Error {
	var small *fasthttp.ErrSmallBuffer
	var chunk fasthttp.ErrBrokenChunk
	var timeout interface{ Timeout() bool } // net.Error, and fasthttp.ErrTimeout
	switch {
	case errors.As(err, &small):
		return middleware.NewError(middleware.CodeHeaderTooLarge, "The request line and headers are too large.")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return middleware.NewError(middleware.CodeRequestBodyTooLarge, "The request body is too large.")
	case errors.As(err, &timeout) && timeout.Timeout(),
		// A broken chunk hides its cause from errors.As.
		errors.As(err, &chunk) && strings.HasSuffix(chunk.Error(), "i/o timeout"):
		return middleware.NewError(middleware.CodeRequestTimeout, "The request did not arrive in time.")
	}
	return middleware.NewError(middleware.CodeBadRequest, "The request is not valid HTTP/1.1.")
}

// What makes two readers disagree on where a request ends, or what it says.
// fasthttp takes all of these; a proxy in front may read them otherwise, and
// the difference is a way to smuggle requests (RFC 9112 §11.2).
var (
	errFramedTwice = middleware.NewError(middleware.CodeBadRequest, "Send Content-Length or Transfer-Encoding, not both.")
	errEncoding    = middleware.NewError(middleware.CodeBadRequest, "The only Transfer-Encoding taken here is chunked.")
	errHeaderLine  = middleware.NewError(middleware.CodeBadRequest, "The request headers are not valid HTTP/1.1.")
)

// ambiguous looks for them in raw, the header lines as they were received; nil
// for none.
func ambiguous(raw []byte) *middleware.Error {
	var length, encoding bool
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return errHeaderLine // a bare line feed (§2.2)
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return errHeaderLine // a folded line (§5.2)
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if bytes.IndexByte(name, ' ') >= 0 {
			return errHeaderLine // no token (RFC 9110 §5.1)
		}
		switch {
		case isName(name, fiber.HeaderContentLength):
			length = true
		case isName(name, fiber.HeaderTransferEncoding):
			encoding = true
			if !strings.EqualFold(string(bytes.Trim(value, " \t")), "chunked") {
				return errEncoding // identity is gone since RFC 7230
			}
		}
	}
	if length && encoding {
		return errFramedTwice
	}
	return nil
}

func isName(name []byte, header string) bool {
	return len(name) == len(header) && strings.EqualFold(string(name), header)
}
