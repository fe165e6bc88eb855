package server

import (
	"bytes"
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

var (
	errOverloaded = &middleware.Error{Code: middleware.CodeUnavailable, Reason: "connections",
		Message: "This server has too many connections.", RetryAfter: time.Second}
	errNotHTTP      = middleware.NewError(middleware.CodeBadRequest, "The request is not valid HTTP/1.1.")
	errTarget       = middleware.NewError(middleware.CodeBadRequest, "The request target or the Host header is not valid.")
	errHeaders      = middleware.NewError(middleware.CodeHeaderTooLarge, "The request line and headers are too large or too many.")
	errBodyTooLarge = middleware.NewError(middleware.CodeRequestBodyTooLarge, "The request body is too large.")
)

// screen stops what Fiber would answer past the envelope, and what fasthttp takes
// for a good request although it names no resource.
func (s *Server) screen(ctx *fasthttp.RequestCtx) *middleware.Error {
	header := &ctx.Request.Header
	if host := header.Host(); !validTarget(header.RequestURI(), ctx.IsConnect()) || len(host) > 0 && !validHost(host) {
		ctx.SetConnectionClose() // whatever sent this may mean more by what follows
		onConnection(ctx, (*fastconn.Conn).LingerOnClose)
		return errTarget
	}
	if _, ours := ctx.Conn().(*fastconn.Conn); ours && ctx.ConnRequestNum() == 1 && s.open.Load() > int64(s.config.MaxConnections) {
		ctx.SetConnectionClose()
		return errOverloaded
	}
	if !ctx.IsGet() && !slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
		// Like Fiber, by the path as it was sent: // is not /.
		return routes.Refusal(string(ctx.URI().PathOriginal()))
	}
	return nil
}

// bounding tells the connections beyond the overflow at once that there are too
// many, and closes them.
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

// refuse answers a request that could not be read, not in fasthttp's words: they
// may hold bytes of the request.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	e := unreadable(err)
	onConnection(ctx, func(c *fastconn.Conn) {
		c.LingerOnClose()
		ctx.Response.SkipBody = c.IsHead() // which ctx forgets
		e = cmp.Or(faults[c.Fault()], e)
	})
	s.answer(ctx, nil, e)
}

// answer answers a request that reaches no route. Its own id is nil where what
// was read of it is no request.
func (s *Server) answer(ctx *fasthttp.RequestCtx, id []byte, e *middleware.Error) {
	middleware.SetRequestID(ctx, id)
	middleware.WriteError(ctx, e)
	s.unrouted.CountRefusal(e)
}

// refuseUnread answers a connection that no request was read of.
func (s *Server) refuseUnread(c net.Conn, e *middleware.Error) {
	var ctx fasthttp.RequestCtx
	ctx.Init2(c, silent, true)
	s.answer(&ctx, nil, e)
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
		return errHeaders
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return errBodyTooLarge
	case errors.As(err, &timeout) && timeout.Timeout(),
		// A broken chunk hides its cause from errors.As.
		errors.As(err, &chunk) && strings.HasSuffix(chunk.Error(), "i/o timeout"):
		return middleware.NewError(middleware.CodeRequestTimeout, "The request did not arrive in time.")
	}
	return errNotHTTP
}

// faults are the refusals of requests whose end is not certain.
var faults = map[error]*middleware.Error{
	fastconn.ErrVersion:     middleware.NewError(middleware.CodeVersion, "This server takes only HTTP/1.1."),
	fastconn.ErrLine:        errNotHTTP,
	fastconn.ErrFramedTwice: middleware.NewError(middleware.CodeBadRequest, "Send Content-Length or Transfer-Encoding, not both."),
	fastconn.ErrEncoding:    middleware.NewError(middleware.CodeBadRequest, "The only Transfer-Encoding taken here is chunked."),
	fastconn.ErrChunkLines:  errBodyTooLarge,
	fastconn.ErrHeaders:     errHeaders,
}

// validTarget reports a request target of a form that RFC 9112 §3.2 has. Of the
// absolute form only http and https are, with a host and no user information (RFC 9110 §4.2).
func validTarget(target []byte, connect bool) bool {
	switch {
	case bytes.IndexByte(target, '#') >= 0:
		return false // a fragment is the client's own (RFC 9110 §7.1)
	case target[0] == '/', target[0] == '*':
		return true
	case connect:
		return validHost(target)
	}
	scheme, rest, _ := bytes.Cut(target, []byte("://"))
	if end := bytes.IndexAny(rest, "/?"); end >= 0 {
		rest = rest[:end]
	}
	return (bytes.EqualFold(scheme, []byte("http")) || bytes.EqualFold(scheme, []byte("https"))) && validHost(rest)
}

// validHost reports a host and perhaps a port (RFC 3986 §3.2.2, §3.2.3).
func validHost(host []byte) bool {
	name := host
	if colon := bytes.LastIndexByte(host, ':'); colon > bytes.LastIndexByte(host, ']') {
		if len(bytes.Trim(host[colon+1:], "0123456789")) > 0 {
			return false
		}
		name = host[:colon]
	}
	if len(name) > 0 && name[0] == '[' {
		ip, err := netip.ParseAddr(string(bytes.Trim(name, "[]")))
		return err == nil && ip.Is6() && ip.Zone() == "" && name[len(name)-1] == ']'
	}
	return len(name) > 0 && !bytes.ContainsFunc(name, func(c rune) bool {
		return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~!$&'()*+,;=", c)
	})
}
