package routes_test

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	settings "github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

const (
	secret  = "the secret of the tests of the routes, 40 bytes"
	account = "9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, harness.FasthttpStays...) }

// events is the order in which the parts behind the routes were called.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, text)
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}

// runtime is a backend that does what its test says.
type runtime struct {
	backend.Backend
	*events
	status func(context.Context) ([]byte, error)
	reach  func(context.Context, lifecycle.Action) error
	apply  func(context.Context, lifecycle.Operation) (lifecycle.Outcome, error)

	accepted atomic.Pointer[time.Time] // the last that it was told of
}

func (r *runtime) See(ctx context.Context) (*backend.Seen, error) {
	r.add("status")
	document, err := r.status(ctx)
	return &backend.Seen{Document: document}, err
}

func (r *runtime) Reach(ctx context.Context, action lifecycle.Action) error {
	return r.reach(ctx, action)
}

func (r *runtime) Apply(ctx context.Context, op lifecycle.Operation) (lifecycle.Outcome, error) {
	r.add("apply " + string(op.Action))
	return r.apply(ctx, op)
}

func (r *runtime) AcceptedAt(at time.Time) { r.accepted.Store(&at) }

func (r *runtime) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// ends is what applying ends with.
func ends(outcome lifecycle.Outcome, err error) func(context.Context, lifecycle.Operation) (lifecycle.Outcome, error) {
	return func(context.Context, lifecycle.Operation) (lifecycle.Outcome, error) { return outcome, err }
}

func panics(context.Context, lifecycle.Operation) (lifecycle.Outcome, error) { panic("canary") }

// What a backend or billing may fail with; cause makes a log line.
func away(message string, cause error) error {
	return &lifecycle.Error{Kind: lifecycle.Unavailable, Message: message, Cause: cause}
}

func malformed(message string) error {
	return &lifecycle.Error{Kind: lifecycle.Malformed, Message: message}
}

func rejection(kind, message string, cause error) error {
	return &lifecycle.Error{Kind: lifecycle.Rejection, Type: kind, Message: message, Cause: cause}
}

// records keeps what its test says; every write leads.
type records struct {
	routes.Operations
	*events
	requested func(lifecycle.Write) (permit func() error, err error)
	ended     func(id string, outcome lifecycle.Outcome) (lifecycle.Outcome, error)
}

func (r *records) Begin(_ context.Context, w lifecycle.Write) (lifecycle.Decided, error) {
	r.add("requested " + string(w.Action))
	permit, err := r.requested(w)
	return lifecycle.Decided{Receipt: lifecycle.Receipt{ID: w.ID}, Permit: permit}, err
}

func (r *records) Ended(id string, outcome lifecycle.Outcome, _ error, took time.Duration) (lifecycle.Receipt, error) {
	r.add("ended " + string(outcome))
	if took < 0 || took > time.Minute {
		r.add("before it began")
	}
	recorded, err := r.ended(id, outcome)
	return lifecycle.Receipt{ID: id, Outcome: recorded}, err
}

// billing is an entitlement checker that does what its test says.
type billing struct {
	*events
	answer func(ctx context.Context, account, scope string) error
}

func (b *billing) check(ctx context.Context, account, scope string) (lifecycle.Entitlement, error) {
	b.add("entitlement " + scope)
	return lifecycle.Entitlement{Reason: "included"}, b.answer(ctx, account, scope)
}

// world is a server with everything behind it, which all says yes until a test
// says otherwise.
type world struct {
	addr net.Addr
	*events
	runtime *runtime
	records *records
	billing *billing
}

// serve starts a world's server; with decides what of it the routes know.
func serve(t *testing.T, with func(*world, *routes.Config)) *world {
	t.Helper()
	e := &events{}
	w := &world{events: e}
	w.runtime = &runtime{nil, e,
		func(context.Context) ([]byte, error) {
			return []byte(`{"status":{"state":"ready","provider":"fake"}}`), nil
		},
		func(context.Context, lifecycle.Action) error { return nil },
		ends(lifecycle.Accepted, nil), atomic.Pointer[time.Time]{},
	}
	w.records = &records{nil, e,
		func(lifecycle.Write) (func() error, error) { return nil, nil },
		func(_ string, outcome lifecycle.Outcome) (lifecycle.Outcome, error) { return outcome, nil },
	}
	w.billing = &billing{e, func(context.Context, string, string) error { return nil }}

	auth, err := middleware.NewAuthenticator(middleware.AuthConfig{Secrets: [][]byte{[]byte(secret)}})
	require.NoError(t, err)
	config := routes.Config{Backend: w.runtime, Auth: auth}
	if with != nil {
		with(w, &config)
	}
	s := server.New(server.Config{
		Server:   settings.Server{HeaderBytes: 16 << 10, ReadTimeout: 20 * time.Second, IdleTimeout: 20 * time.Second, MaxConnections: 256},
		Shutdown: settings.Shutdown{Timeout: 20 * time.Second},
		Logger:   cmp.Or(config.Logger, slog.New(slog.DiscardHandler)), Metrics: metrics.NewSet(),
	}, func(router fiber.Router) { routes.Mount(router, config) })
	listener, err := server.Listen("127.0.0.1:0", settings.Socket{})
	require.NoError(t, err)
	w.addr = listener.Addr()
	harness.Run(t, func(ctx context.Context) error { return s.Run(ctx, listener) })
	return w
}

// everything makes the routes know billing and usage.
func everything(w *world, c *routes.Config) {
	c.Entitlement = w.billing.check
	withUsage(w, c)
}

func withUsage(w *world, c *routes.Config) { c.Operations, c.Billed = w.records, true }

// token is good for an hour.
func token(subject, scope string) string {
	claims := hostile.GoodClaims(time.Now()).Set("sub", `"`+subject+`"`).Set("scope", `"`+scope+`"`)
	return hostile.Sign(secret, hostile.DefaultHeader, claims.String())
}

// call sends one request on a connection of its own and returns the whole
// answer. headers are further lines, each ended by \r\n.
func (w *world) call(t *testing.T, method, path, headers, body string) string {
	t.Helper()
	raw := method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers
	if body != "" {
		raw += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	answer := wire.Anonymous(wire.Exchange(t, w.addr, raw+"\r\n"+body))
	answer = ids.ReplaceAllString(answer, "<id>") // of operations
	return strings.Replace(answer, "Connection: close\n", "", 1)
}

func bearer(token string) string { return "Authorization: Bearer " + token + "\r\n" }

// both is a caller who may do everything.
func both() string { return bearer(token(account, "vm:read vm:write")) }

// answered is a whole answer; headers are further lines.
func answered(status, headers, body string) string {
	headers, located := strings.CutPrefix(headers, location)
	answer := wire.Answer(status, headers, body)
	if located {
		answer = strings.Replace(answer, "Cache-Control", location+"Cache-Control", 1)
	}
	return answer
}

// location is the header of a write that has an operation.
const location = "Location: /api/v1/vm/operations/<id>\n"

var refused, headOf = wire.Refusal, wire.HeadOf

// failed is a whole answer to a write that failed after the checks.
func failed(outcome lifecycle.Outcome, status, headers, kind, message string) string {
	return answered(status, headers, `{"error":{"type":"`+kind+`","message":"`+message+`","outcome":"`+string(outcome)+`","request_id":"<id>"}}`)
}
