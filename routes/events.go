package routes

import (
	"bytes"
	"io"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// identity is the length of a body that the end of the connection ends.
const identity = -2

var errStreams = &middleware.Error{Code: middleware.CodeUnavailable, Reason: "streams", RetryAfter: 5 * time.Second,
	Message: "Too many event streams are open."}

// events answers with a stream until the token expires, its key is removed, or the
// server ends.
func (a *api) events(c *fiber.Ctx) error {
	ctx := c.Context()
	head := &ctx.Response.Header
	begin := func() {
		head.SetContentType("text/event-stream")
		head.SetCanonical(cacheControl, noStore)
		head.Set("X-Accel-Buffering", "no") // of nginx
		head.SetContentLength(identity)
	}
	if c.Method() == fiber.MethodHead {
		begin()
		return nil
	}
	caller := middleware.CallerIdentity(c)
	give := a.streams.Take(caller.Subject, true)
	if give == nil {
		return errStreams
	}
	s := &stream{conn: ctx.Conn(), give: give}
	peer, known := s.conn.(interface{ Gone() bool })
	holds := a.Auth.Holds(c)
	reader := feed.Reader{Account: caller.Subject, Expires: caller.Expires(), Gone: func() bool { return known && peer.Gone() || !holds() }}
	defer func() {
		if s.Stream == nil { // an error, or a panic
			s.give()
		}
	}()
	var err error
	if s.Stream, err = a.Feed.Subscribe(c.UserContext(), reader, string(bytes.TrimSpace(ctx.Request.Header.Peek("Last-Event-ID")))); err != nil {
		return middleware.Unavailable(0, "What changed since that event cannot be read now.", err)
	}
	begin()
	if ctx.Request.Header.IsHTTP11() {
		ctx.SetBodyStream(s, -1)
		return nil
	}
	// fasthttp knows only bodies in chunks and of a known length.
	defer s.Close()
	middleware.Waits(c)
	if _, err := head.WriteTo(s.conn); err == nil {
		_, _ = io.CopyBuffer(struct{ io.Writer }{s.conn}, s, make([]byte, 4<<10)) // by Write, whatever else conn has
	}
	return s.conn.Close() // which keeps fasthttp from answering
}

// stream is a feed.Stream on the connection that it is sent on.
type stream struct {
	*feed.Stream
	conn net.Conn
	give func()
}

// Read has what it returns be sent in time.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == nil {
		err = s.conn.SetWriteDeadline(time.Now().Add(feed.WriteTimeout))
	}
	return n, err
}

// Close gives the place back.
func (s *stream) Close() error {
	s.give()
	return s.Stream.Close()
}
