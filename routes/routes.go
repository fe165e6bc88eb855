// Package routes is the HTTP surface of the gateway: which path takes which
// method, and what a request passes on its way to the backend.
//
// Mount puts it on any Fiber router, so another application can carry the VM
// API below a prefix of its own.
package routes

import (
	"log/slog"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// The paths of the API, relative to where it is mounted.
const (
	StatusPath  = "/api/v1/vm/status"
	StartPath   = "/api/v1/vm/start"
	StopPath    = "/api/v1/vm/stop"
	OpenAPIPath = "/api/v1/vm/openapi.json"
	ReadyPath   = "/readyz"
	LivePath    = "/livez"
)

// Config is what Mount needs. Backend and Auth are required.
type Config struct {
	// Backend answers for the runtime.
	Backend backend.Backend
	// Auth verifies bearer tokens.
	Auth *middleware.Authenticator
	// Entitlement is asked before every write; nil means that billing is off.
	Entitlement middleware.EntitlementChecker
	// Usage records every write; nil means that nothing is recorded.
	Usage Recorder
	// WritesInFlight bounds the writes under way at once; 0 means no bound.
	WritesInFlight int
	// WritesPerSecond bounds the writes of each subject; 0 means no bound.
	WritesPerSecond int
	// Timeout bounds each step of a write that waits for another service, the
	// entitlement and the operation; default 30 s.
	Timeout time.Duration
	// Ready returns why this instance should get no traffic now, nil when it
	// should; a nil func means always.
	Ready func() error
	// Logger gets one line for each failure of this server, one for each write
	// of a caller, and at debug one for each read; default none.
	Logger *slog.Logger
	// Metrics gets the counters of the routes; nil for none.
	Metrics *metrics.Set
}

// defaultTimeout bounds a step of a write when Config leaves it open.
const defaultTimeout = 30 * time.Second

// Mount registers the API on router. The order of each chain is the order of
// refusals: 401 before 403 before 400 before 402, so that a caller learns
// nothing it may not.
func Mount(router fiber.Router, config Config) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Metrics == nil {
		config.Metrics = metrics.NewSet()
	}
	if config.Timeout <= 0 {
		config.Timeout = defaultTimeout
	}

	ids := middleware.NewRequestIDs()
	edge := func(route string) []fiber.Handler {
		return []fiber.Handler{
			middleware.RequestID(ids),
			middleware.NewRouteMetrics(config.Metrics, route).Handler(),
			middleware.Errors(config.Logger),
			middleware.NoStore(),
		}
	}
	read := []fiber.Handler{
		config.Auth.Handler(),
		middleware.RequireScope(middleware.ScopeRead),
	}
	write := []fiber.Handler{
		config.Auth.Handler(),
		middleware.RequireScope(middleware.ScopeWrite),
	}
	if config.Entitlement != nil || config.Usage != nil {
		write = append(write, middleware.RequireAccount())
	}
	write = append(write, middleware.EmptyBody())
	var limits, entitled []fiber.Handler
	if config.WritesPerSecond > 0 {
		limits = append(limits, middleware.LimitSubject(config.WritesPerSecond))
	}
	if config.WritesInFlight > 0 {
		limits = append(limits, middleware.LimitWrites(config.WritesInFlight))
	}
	if config.Entitlement != nil {
		entitled = append(entitled, middleware.RequireEntitlement(middleware.EntitlementConfig{
			Checker: config.Entitlement, Scope: middleware.ScopeWrite, Timeout: config.Timeout, Metrics: config.Metrics,
		}))
	}

	router.Get(StatusPath, chain(edge("status"), read, status(config.Backend, config.Logger))...)
	for path, action := range map[string]backend.Action{StartPath: backend.Start, StopPath: backend.Stop} {
		w := newWrites(action, config)
		router.Post(path, slices.Concat(edge(string(action)), []fiber.Handler{w.audited}, write,
			[]fiber.Handler{w.checked}, limits, []fiber.Handler{w.reach}, entitled, []fiber.Handler{w.execute})...)
	}
	router.Get(OpenAPIPath, chain(edge("openapi"), nil, description)...)
	router.Get(ReadyPath, chain(edge("readyz"), nil, ready(config))...)
	router.Get(LivePath, chain(edge("livez"), nil, live)...)

	// Whatever other method reaches these paths is refused with Allow.
	refused := edge("refused")
	for path := range allowed {
		router.All(path, chain(refused, nil, wrongMethod(path))...)
	}
}

// chain returns a new slice, so that two chains never share their tail.
func chain(edge, checks []fiber.Handler, last fiber.Handler) []fiber.Handler {
	return slices.Concat(edge, checks, []fiber.Handler{last})
}
