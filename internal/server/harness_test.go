package server

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// fasthttp keeps the date of its replies in one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

const secret = "not-a-secret-of-the-server-tests-32"

// issuer signs tokens that are good too.
var issuer = []*hostile.Signer{hostile.NewSigner("ES256", "e"), hostile.NewSigner("EdDSA", "d")}

// running is a server that serves until its test ends.
type running struct {
	*Server
	net.Listener // of this machine, over TCP, unless edit has set another
	// stop asks it to end; ended then delivers what Run returned.
	stop  context.CancelFunc
	ended chan error
}

// start serves the API and what mount adds to it. The test fails if the server
// does not end cleanly.
func start(t *testing.T, edit func(*running), mount func(fiber.Router)) *running {
	t.Helper()
	r := prepare(t, edit, mount)
	r.serve(t)
	t.Cleanup(func() {
		r.stop()
		assert.NoError(t, <-r.ended)
	})
	return r
}

// prepare makes a server that does not serve yet.
func prepare(tb testing.TB, edit func(*running), mount func(fiber.Router)) *running {
	tb.Helper()
	logger := slog.New(slog.DiscardHandler)
	keys, err := jwks.Parse([]byte(hostile.JWKS(issuer[0].JWK(), issuer[1].JWK())))
	require.NoError(tb, err)
	// Fewer tokens are remembered than BenchmarkStatus sends.
	auth, err := middleware.NewAuthenticator(middleware.AuthConfig{Secrets: [][]byte{[]byte(secret)}, PublicKeys: keys, CacheSize: 1024, Logger: logger})
	require.NoError(tb, err)
	static := backend.NewStatic(backend.StaticConfig{})
	r := &running{ended: make(chan error, 1)}
	r.Server = New(Config{
		Server: config.Server{
			HeaderBytes: 16 << 10, ReadTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxConnections: 256,
		},
		Shutdown: config.Shutdown{Timeout: 10 * time.Second},
		Logger:   logger,
		Metrics:  metrics.NewSet(),
	}, func(router fiber.Router) {
		if mount != nil {
			mount(router)
		}
		routes.Mount(router, routes.Config{
			Backend: static, Auth: auth, Logger: logger, Ready: func() error { return r.Ready() },
			Wait: &routes.Wait{
				Max: time.Minute, Waiters: 16, Estimate: func() (time.Duration, bool) { return 0, false },
				Superseded: func(lifecycle.Receipt, time.Time) bool { return false },
			},
		})
	})
	if edit != nil {
		edit(r)
	}
	if r.Listener == nil {
		r.Listener, err = Listen("127.0.0.1:0", config.Socket{})
		require.NoError(tb, err)
		tb.Cleanup(func() { _ = r.Listener.Close() })
	}
	r.app.Server().MaxIdleWorkerDuration = 10 * time.Millisecond // goleak waits for it
	return r
}

func (r *running) serve(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.ended <- r.Run(ctx, r.Listener) }()
}

// dial connects, and returns where to read the answers from.
func (r *running) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := wire.Dial(t, r.Addr())
	return c, bufio.NewReader(c)
}

const (
	getLive      = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	liveAndClose = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)

// The answers to getLive, to liveAndClose, and to the former by wire.Next.
var (
	live     = wire.Answer("200 OK", "", `{"ok":true}`)
	lastLive = wire.Answer("200 OK", "Connection: close\n", `{"ok":true}`)
	nextLive = "HTTP/1.1 200 OK\nContent-Length: 11\nCache-Control: no-store\nContent-Type: application/json\nX-Request-Id: <id>\n\n{\"ok\":true}"
)

// refusal is the whole answer to a request that was refused before any route.
func refusal(status, kind, message string) string {
	return wire.Refusal(status, "Connection: close\n", kind, message)
}
