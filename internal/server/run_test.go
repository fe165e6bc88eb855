package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

const holdAndClose = "GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// held is a route whose requests wait in it.
type held struct {
	entered chan struct{}
	release chan struct{}
}

func newHeld() *held { return &held{make(chan struct{}), make(chan struct{})} }

func (h *held) mount(router fiber.Router) {
	router.Get("/hold", func(c *fiber.Ctx) error {
		h.entered <- struct{}{}
		<-h.release
		return c.SendString("held")
	})
}

const wasHeld = `HTTP/1.1 200 OK
Content-Type: text/plain; charset=utf-8
Content-Length: 4
Connection: close

held`

func refused(addr net.Addr) bool {
	c, err := net.Dial(addr.Network(), addr.String())
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

// A request that takes longer than the shutdown timeout is reported.
func TestDrainTimesOut(t *testing.T) {
	hold := newHeld()
	r := prepare(t, func(r *running) { r.config.Shutdown.Timeout = 50 * time.Millisecond }, hold.mount)
	r.serve(t)
	inFlight := wire.Dial(t, r.Addr())
	wire.Send(t, inFlight, holdAndClose)
	<-hold.entered
	r.stop()
	err := <-r.ended
	assert.EqualError(t, err, "requests in flight did not finish within 50ms (connections left: 1): context deadline exceeded")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.True(t, refused(r.Addr()))
	close(hold.release)
	assert.Contains(t, wire.Rest(t, inFlight), "held")
}

// An end that was asked for before serving began is an end all the same, and
// clients that had connected by then are answered: they wait in the backlog of a
// server that has hardly started.
func TestShutdownBeforeServe(t *testing.T) {
	for round := range 20 {
		r := prepare(t, nil, nil)
		clients := make([]net.Conn, round%2*20)
		for i := range clients {
			clients[i] = wire.Dial(t, r.Addr())
			wire.Send(t, clients[i], getLive)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		assert.NoError(t, r.Run(ended, r.Listener))
		assert.EqualError(t, r.Ready(), "shutting down")
		assert.True(t, refused(r.Addr()))
		for _, c := range clients {
			// One that was answered just before the end was asked for may not
			// have been told.
			got := strings.Replace(wire.Anonymous(wire.Rest(t, c)), "Connection: close\n", "", 1)
			assert.Equal(t, live, got)
		}
	}
}

// When the shutdown came too early to count connections, the last of them is
// waited for all the same.
func TestLeftovers(t *testing.T) {
	hold := newHeld()
	r := prepare(t, nil, hold.mount)
	served := make(chan error, 1)
	fast := fastconn.NewListener(r.Listener, fastconn.Config{ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: time.Minute, HeaderBytes: 4 << 10})
	go func() { served <- r.app.Listener(fast) }()
	last := wire.Dial(t, r.Addr())
	wire.Send(t, last, holdAndClose)
	<-hold.entered
	require.NoError(t, r.Listener.Close())
	require.NoError(t, <-served)

	soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, r.leftovers(soon), context.DeadlineExceeded)
	close(hold.release)
	assert.NoError(t, r.leftovers(t.Context()))
	assert.Equal(t, wasHeld, wire.Anonymous(wire.Rest(t, last)))
}

// A listener that fails ends the server with an error that names it.
func TestListenerFails(t *testing.T) {
	for _, broken := range []error{net.ErrClosed, errors.New("broken")} {
		r := prepare(t, nil, nil)
		err := r.Run(t.Context(), failing{r.Listener, broken})
		require.ErrorIs(t, err, broken)
		assert.Contains(t, err.Error(), "serve on "+r.Addr().String()+": ")
		assert.True(t, refused(r.Addr()), "the listener is closed")
	}
}

type failing struct {
	net.Listener
	err error
}

func (f failing) Accept() (net.Conn, error) { return nil, f.err }
