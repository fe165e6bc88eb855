// Package server runs the HTTP side of the gateway: the Fiber application with
// the limits of its connections, its listener, and the order in which both end.
package server

import (
	"io"
	"log"
	"log/slog"
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

// maxBody bounds a request body, in bytes. No request of this API needs one;
// the room is for white space and for an answer that says so.
const maxBody = 64 << 10

// overflow is how many connections beyond the bound are still told so in the
// envelope. What comes on top of them gets fasthttp's own 503, in plain text.
const overflow = 64

// writeTimeout bounds sending a reply; the time to make it does not count.
const writeTimeout = 10 * time.Second

// Config is what a server is made with.
type Config struct {
	config.Server
	Shutdown config.Shutdown
	// Logger gets the failures of connections.
	Logger *slog.Logger
	// Metrics gets the connections and the requests that reach no route.
	Metrics *metrics.Set
}

// Server is one Fiber application and its way to end.
type Server struct {
	config       Config
	writeTimeout time.Duration
	app          *fiber.App
	ids          *middleware.RequestIDs
	unrouted     *middleware.RouteMetrics // requests that reach no route
	draining     atomic.Bool
}

// New returns a server whose routes are registered by mount.
func New(config Config, mount func(fiber.Router)) *Server {
	s := &Server{
		config:       config,
		writeTimeout: writeTimeout,
		ids:          middleware.NewRequestIDs(),
		unrouted:     middleware.NewRouteMetrics(config.Metrics, "none"),
	}
	s.app = fiber.New(fiber.Config{
		AppName:                 "bus-api-provider-vm",
		BodyLimit:               maxBody,
		CaseSensitive:           true,
		StrictRouting:           true,
		Concurrency:             config.MaxConnections + overflow,
		ReadBufferSize:          config.HeaderBytes,
		ReduceMemoryUsage:       true, // fastconn makes up for what it costs, and keeps the time-outs
		EnableTrustedProxyCheck: true, // trust no forwarded header: none is read
		// A form is a body like any other, read only behind authentication.
		DisablePreParseMultipartForm: true,
		DisableStartupMessage:        true,
	})
	mount(s.app)
	for _, handler := range routes.NotFound(config.Logger, s.unrouted) {
		s.app.Use(handler)
	}

	// What Fiber leaves at fasthttp's defaults.
	server := s.app.Server()
	server.CloseOnShutdown = true
	server.SecureErrorLogMessage = true // parse errors would quote headers
	server.Logger = silent              // it logs peers' mistakes, one line each
	server.ErrorHandler = s.refuse
	server.ExpectHandler = func(ctx *fasthttp.RequestCtx) int {
		startReply(ctx)
		return fiber.StatusContinue
	}
	next := server.Handler
	server.Handler = func(ctx *fasthttp.RequestCtx) {
		if s.draining.Load() {
			ctx.SetConnectionClose()
		}
		if e := s.screen(ctx); e != nil {
			s.ids.Answer(ctx)
			middleware.WriteError(ctx, e)
			s.unrouted.Refuse(e)
		} else {
			next(ctx)
		}
		if c, ok := ctx.Conn().(*fastconn.Conn); ok {
			c.RequestDone(ctx.Time().Add(time.Since(ctx.Time())))
		}
	}

	config.Metrics.NewGauge("bus_vm_http_connections", func() float64 { return float64(max(0, server.GetOpenConnectionsCount())) })
	config.Metrics.NewGauge("bus_vm_http_max_connections", func() float64 { return float64(config.MaxConnections) })
	return s
}

// silent drops fasthttp's own log: it reports broken requests, which their
// sender already got an answer to.
var silent = log.New(io.Discard, "", 0)
