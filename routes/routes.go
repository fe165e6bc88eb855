// Package routes is the HTTP surface of the gateway: which path takes which
// method, and what a request passes on its way to the backend.
//
// Mount puts it on any Fiber router, so another application can carry the VM
// API below a prefix of its own.
package routes

import (
	"cmp"
	"log/slog"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// The paths of the API, relative to where it is mounted.
const (
	StatusPath     = "/api/v1/vm/status"
	StartPath      = "/api/v1/vm/start"
	StopPath       = "/api/v1/vm/stop"
	OperationsPath = "/api/v1/vm/operations"
	OperationPath  = OperationsPath + "/:id"
	EventsPath     = "/api/v1/vm/events"
	OpenAPIPath    = "/api/v1/vm/openapi.json"
	ReadyPath      = "/readyz"
	LivePath       = "/livez"
)

// Config is what Mount needs. Backend and Auth are required.
type Config struct {
	Backend     backend.Backend               // answers for the runtime
	Auth        *middleware.Authenticator     // verifies bearer tokens
	Entitlement middleware.EntitlementChecker // is asked before every write; nil means that billing is off
	// Operations records every write; nil means that nothing is recorded: then there
	// are no operations to read, and no idempotency keys.
	Operations Operations
	// Billed: usage is recorded, so every caller of a write must be an account.
	Billed bool
	// WritesInFlight bounds the writes under way at once, shared out among their subjects,
	// and WritesPerSecond those of each subject; 0 means no bound.
	WritesInFlight, WritesPerSecond int
	// Wait lets callers wait and read conditionally: Prefer, ETag, If-None-Match and
	// Retry-After of what moves; nil leaves these out.
	Wait *Wait
	// Feed lets callers follow what changes, on at most so many Streams at once, shared
	// out among their subjects; nil leaves that path out.
	Feed    *feed.Feed
	Streams int
	// Timeout bounds each step of a write that waits for another service, the
	// entitlement and the operation; default 30 s.
	Timeout time.Duration
	// Ready returns why this instance should get no traffic now, nil when it
	// should; a nil func means always.
	Ready func() error
	// Logger gets one line for each failure of this server, one for each write
	// of a caller, and at debug one for each read; default none.
	Logger  *slog.Logger
	Metrics *metrics.Set // gets the counters of the routes; nil for none
}

// api has what the handlers share.
type api struct {
	Config
	waits   *waits            // nil without Config.Wait
	streams *middleware.Limit // the places of Config.Streams
}

const defaultTimeout = 30 * time.Second // of Config

// Mount registers the API on router. The order of each chain is the order of
// refusals: 401 before 403 before 400 before 402, so that a caller learns
// nothing it may not.
func Mount(router fiber.Router, config Config) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.Metrics = cmp.Or(config.Metrics, metrics.NewSet())
	config.Timeout = cmp.Or(config.Timeout, defaultTimeout)

	edge := func(route string) fiber.Handler {
		return middleware.NewRouteMetrics(config.Metrics, route).Edge(config.Logger)
	}
	refused := edge("refused")
	serve := func(path, route string, handlers ...fiber.Handler) {
		register := router.Get
		if allowed[path] == fiber.MethodPost {
			register = router.Post
		}
		register(path, append([]fiber.Handler{edge(route)}, handlers...)...)
		router.All(path, refused, func(*fiber.Ctx) error { return Refusal(path) })
	}
	a := &api{Config: config, streams: middleware.NewLimit(config.Streams)}
	if config.Wait != nil {
		a.waits = &waits{*config.Wait, config.Backend, middleware.NewLimit(config.Wait.Waiters)}
		config.Metrics.NewGauge("bus_vm_waits_open", func() float64 { return float64(a.waits.places.Taken()) })
	}
	auth, read := config.Auth.Handler(), middleware.RequireScope(middleware.ScopeRead)
	serve(StatusPath, "status", auth, read, a.status)

	pace := []fiber.Handler{}
	if config.WritesPerSecond > 0 {
		pace = append(pace, middleware.LimitSubject(config.WritesPerSecond))
	}
	limit := middleware.NewLimit(config.WritesInFlight)
	for path, action := range map[string]lifecycle.Action{StartPath: lifecycle.Start, StopPath: lifecycle.Stop} {
		w := &writes{a, action}
		handlers := []fiber.Handler{w.audited, auth, middleware.RequireScope(middleware.ScopeWrite)}
		if config.Entitlement != nil || config.Billed {
			handlers = append(handlers, middleware.RequireAccount())
		}
		handlers = append(handlers, middleware.EmptyBody(), w.asked)
		handlers = append(handlers, pace...)
		if config.WritesInFlight > 0 {
			handlers = append(handlers, limit.Handler(action == lifecycle.Stop)) // a stop ends what costs money
		}
		handlers = append(handlers, w.met)
		if config.Entitlement != nil {
			handlers = append(handlers, middleware.RequireEntitlement(config.Entitlement, middleware.ScopeWrite, config.Timeout, config.Metrics))
		}
		serve(path, string(action), append(handlers, w.execute)...)
	}
	if config.Operations != nil {
		either := middleware.RequireScope(middleware.ScopeRead, middleware.ScopeWrite)
		serve(OperationsPath, "operations", auth, either, a.operations)
		serve(OperationPath, "operation", auth, either, a.operation)
	}
	if config.Feed != nil {
		serve(EventsPath, "events", auth, read, a.events)
	}
	serve(OpenAPIPath, "openapi", always(OpenAPI))
	serve(ReadyPath, "readyz", a.ready)
	serve(LivePath, "livez", always(okDocument))
}

// allowed lists the methods of each path, as Allow shows them.
var allowed = map[string]string{
	StatusPath:     "GET, HEAD",
	StartPath:      "POST",
	StopPath:       "POST",
	OperationsPath: "GET, HEAD",
	OperationPath:  "GET, HEAD",
	EventsPath:     "GET, HEAD",
	OpenAPIPath:    "GET, HEAD",
	ReadyPath:      "GET, HEAD",
	LivePath:       "GET, HEAD",
}

var errNotFound = middleware.NewError(middleware.CodeNotFound, "There is nothing at this path.")

// Refusal is the error for a method that is not taken: 405 on a path of this
// API, with the methods that are (RFC 9110 §15.5.6), 404 elsewhere.
func Refusal(path string) *middleware.Error {
	if id, below := strings.CutPrefix(path, OperationsPath+"/"); below && id != "" && !strings.Contains(id, "/") {
		path = OperationPath
	}
	methods, ok := allowed[path]
	if !ok {
		return errNotFound
	}
	e := middleware.NewError(middleware.CodeMethodNotAllowed, "This path takes only "+methods+".")
	e.Headers = []middleware.Header{{Name: fiber.HeaderAllow, Value: methods}}
	return e
}
