// Package server runs the HTTP side of the gateway: the Fiber application with
// the limits of its connections, its listener, and the order in which both end.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// Bounds on what a request may make this server do before its caller is known,
// in bytes. No request of this API needs a body, and none has a long target: the
// room is for white space, and for answers that say so. A chunk costs as much as
// a small request.
const (
	maxBody        = 4 << 10
	maxChunkedBody = 64
	maxTarget      = 1 << 10
)

// Overflow is how many connections beyond the bound may send a request before
// they are told so. What comes on top of them is told at once.
const Overflow = 64

const (
	writeTimeout = 10 * time.Second     // of sending a reply; the time to make it does not count
	lastAnswers  = time.Second / 2      // of requests once nothing that they wait for is there any more
	leftoverPoll = 5 * time.Millisecond // how often the last open connections are counted
)

// Config is what a server is made with.
type Config struct {
	config.Server
	Shutdown config.Shutdown
	Draining func()       // called once the end was asked for, when set
	Logger   *slog.Logger // gets the failures of connections
	Metrics  *metrics.Set // gets the connections and the requests that reach no route
}

// Server is one Fiber application and its way to end.
type Server struct {
	config       Config
	writeTimeout time.Duration // tests have another
	app          *fiber.App
	unrouted     *middleware.RouteMetrics // requests that reach no route
	draining     atomic.Bool
	open         atomic.Int64 // connections of the listener, until they are closed
}

// New returns a server whose routes are registered by mount.
func New(config Config, mount func(fiber.Router)) *Server {
	s := &Server{
		config:       config,
		writeTimeout: writeTimeout,
		unrouted:     middleware.NewRouteMetrics(config.Metrics, "none"),
	}
	s.app = fiber.New(fiber.Config{
		AppName:                 "bus-api-provider-vm",
		BodyLimit:               maxBody,
		CaseSensitive:           true,
		StrictRouting:           true,
		Concurrency:             math.MaxInt32, // bounding bounds them: fasthttp would answer in plain text
		ReadBufferSize:          config.HeaderBytes,
		ReduceMemoryUsage:       true, // fastconn makes up for what it costs, and keeps the time-outs
		EnableTrustedProxyCheck: true, // trust no forwarded header: none is read
		// A form is a body like any other, read only behind authentication.
		DisablePreParseMultipartForm: true,
		DisableStartupMessage:        true,
	})
	mount(s.app)
	s.app.Use(func(c *fiber.Ctx) error {
		s.answer(c.Context(), c.Request().Header.Peek(fiber.HeaderXRequestID), routes.Refusal(""))
		return nil
	})

	// What Fiber leaves at fasthttp's defaults.
	server := s.app.Server()
	server.CloseOnShutdown = true
	server.SecureErrorLogMessage = true // parse errors would quote headers
	server.Logger = silent
	server.ErrorHandler = s.refuse
	server.HeaderReceived = bound
	server.ConnState = s.count
	next := server.Handler
	server.Handler = func(ctx *fasthttp.RequestCtx) {
		if e := s.screen(ctx); e != nil {
			s.answer(ctx, ctx.Request.Header.Peek(fiber.HeaderXRequestID), e)
		} else {
			next(ctx)
		}
		if s.draining.Load() { // now: the request may have waited
			ctx.SetConnectionClose()
		}
		onConnection(ctx, func(c *fastconn.Conn) { c.RequestDone(ctx.Time().Add(time.Since(ctx.Time()))) })
	}

	_ = s.app.Handler() // builds the routes, which Dial may use before Run

	config.Metrics.NewGauge("bus_vm_http_connections", func() float64 { return float64(s.open.Load()) })
	config.Metrics.NewGauge("bus_vm_http_max_connections", func() float64 { return float64(config.MaxConnections) })
	return s
}

// count counts the connections of the listener. Those of Dial are no such.
func (s *Server) count(c net.Conn, state fasthttp.ConnState) {
	if _, ok := c.(*fastconn.Conn); ok {
		switch state {
		case fasthttp.StateNew:
			s.open.Add(1)
		case fasthttp.StateClosed:
			s.open.Add(-1)
		}
	}
}

// Dial connects to the server in memory. Such a connection needs no file, and
// takes no place among the others.
func (s *Server) Dial() net.Conn {
	client, served := net.Pipe()
	go func() { _ = s.app.Server().ServeConn(served) }() // until client is closed
	return client
}

// silent drops fasthttp's own log, of broken requests whose senders got an answer.
var silent = log.New(io.Discard, "", 0)

// Ready is nil until the end was asked for.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	return nil
}

// Run serves on l until ctx ends, then drains in this order:
//
//  1. /readyz says 503 and every reply closes its connection;
//  2. the shutdown delay passes, so that a balancer notices;
//  3. the listener closes, with its backlog still served;
//  4. requests in flight finish, for at most the shutdown timeout.
//
// It returns nil when all of them did.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	fast := fastconn.NewListener(l, fastconn.Config{
		HeaderBytes: s.config.HeaderBytes,
		ReadTimeout: s.config.ReadTimeout, WriteTimeout: s.writeTimeout, IdleTimeout: s.config.IdleTimeout,
		// Why its connection ends (RFC 9110 §15.5.9). fasthttp says so by itself only
		// when it waits with a buffer.
		Silent: func(c net.Conn) { s.refuseUnread(c, unreadable(os.ErrDeadlineExceeded)) },
	})
	go func() { served <- s.app.Listener(bounding{fast, s}) }()

	select {
	case err := <-served:
		return stoppedServing(l, err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	if s.config.Draining != nil {
		s.config.Draining()
	}
	s.config.Logger.Info("draining", "delay", s.config.Shutdown.Delay, "timeout", s.config.Shutdown.Timeout)
	select {
	case err := <-served:
		return stoppedServing(l, err)
	case <-time.After(s.config.Shutdown.Delay):
	}

	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Shutdown.Timeout)
	defer cancel()
	err := s.app.ShutdownWithContext(limit)
	_ = l.Close() // a shutdown that came before Serve knew its listener has not
	stopped := <-served
	if err = cmp.Or(err, stopped); err == nil {
		err = s.leftovers(limit)
	}
	if err != nil {
		return fmt.Errorf("requests in flight did not finish within %s (connections left: %d): %w",
			s.config.Shutdown.Timeout, s.open.Load(), err)
	}
	s.config.Logger.Info("drained")
	return nil
}

// AwaitLast gives the requests that outlasted Run a moment to be answered. Call
// it when what they wait for has ended, so that they say so instead of losing
// their connection.
func (s *Server) AwaitLast() {
	limit, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	_ = s.leftovers(limit) // Run has told of them
}

// Left says what would be left behind if the process ended now.
func (s *Server) Left() string {
	if n := s.open.Load(); n > 0 {
		return fmt.Sprintf("%d connections with requests", n)
	}
	return ""
}

// leftovers waits for connections that the closing listener still handed over
// while the shutdown was already counting.
func (s *Server) leftovers(limit context.Context) error {
	for s.open.Load() > 0 {
		if err := limit.Err(); err != nil {
			return err
		}
		time.Sleep(leftoverPoll)
	}
	return nil
}

// stoppedServing closes a listener that failed, or that was closed: then
// fasthttp gives no reason.
func stoppedServing(l net.Listener, err error) error {
	_ = l.Close()
	return fmt.Errorf("serve on %s: %w", l.Addr(), cmp.Or(err, net.ErrClosed))
}
