package server

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// fasthttp keeps the date of its replies in one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// running is a server that serves until its test ends.
type running struct {
	*Server
	net.Listener
	// stop asks it to end; ended then delivers what Run returned.
	stop  context.CancelFunc
	ended chan error
}

// start serves the API and what mount adds to it. The test fails if the server
// does not end cleanly.
func start(t *testing.T, edit func(*Config), mount func(fiber.Router)) *running {
	t.Helper()
	listener, err := Listen(ListenConfig{Addr: "127.0.0.1:0"})
	require.NoError(t, err)
	return startOn(t, listener, edit, mount)
}

func startOn(t *testing.T, listener net.Listener, edit func(*Config), mount func(fiber.Router)) *running {
	t.Helper()
	r := prepare(t, edit, mount)
	r.Listener = listener
	r.serve(t)
	t.Cleanup(func() {
		r.stop()
		assert.NoError(t, <-r.ended)
	})
	return r
}

// prepare makes a server that does not serve yet.
func prepare(t *testing.T, edit func(*Config), mount func(fiber.Router)) *running {
	t.Helper()
	auth, err := middleware.NewAuthenticator(middleware.AuthConfig{Secrets: [][]byte{[]byte("secret")}})
	require.NoError(t, err)
	static := backend.NewStatic(backend.StaticConfig{})
	config := Config{
		HeaderBytes:     16 << 10,
		ReadTimeout:     10 * time.Second,
		WriteTimeout:    10 * time.Second,
		IdleTimeout:     10 * time.Second,
		MaxConnections:  256,
		ShutdownTimeout: 10 * time.Second,
		Logger:          slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&config)
	}
	r := &running{ended: make(chan error, 1)}
	r.Server = New(config, func(router fiber.Router) {
		if mount != nil {
			mount(router)
		}
		routes.Mount(router, routes.Config{Backend: static, Auth: auth, Ready: func() error { return r.Ready() }})
	})
	r.app.Server().MaxIdleWorkerDuration = 10 * time.Millisecond // goleak waits for it
	return r
}

func (r *running) serve(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.ended <- r.Run(ctx, r.Listener) }()
}

// answer is a whole answer with a JSON body; headers are further lines.
func answer(status, headers, body string) string {
	length := len(body)
	if headers != "" {
		headers += "\n"
	}
	return "HTTP/1.1 " + status + "\nContent-Type: application/json\nContent-Length: " +
		strconv.Itoa(length) + "\nX-Request-Id: <id>\nCache-Control: no-store\n" + headers + "\n" + body
}

// refusal is the whole answer to a request that was refused before any route.
func refusal(status, kind, message string) string {
	body := `{"error":{"type":"` + kind + `","message":"` + message + `","request_id":"<id>"}}`
	padded := strconv.Itoa(len(body) - len("<id>") + 32)
	return "HTTP/1.1 " + status + "\nContent-Type: application/json\nContent-Length: " + padded +
		"\nX-Request-Id: <id>\nCache-Control: no-store\nConnection: close\n\n" + body
}
