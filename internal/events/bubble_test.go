package events

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without a network, so that time can be synctest's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8081} }

// inBubble runs test in a synctest bubble, with a fake reached through pipes.
func inBubble(t *testing.T, test func(t *testing.T, f *fake, overPipes func(*Client)), prepare ...func(*fake)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		onPipes := func(f *fake) {
			f.Listener.Close()
			f.Listener = p
		}
		f := newFake(t, append([]func(*fake){onPipes}, prepare...)...)
		test(t, f, func(c *Client) {
			for _, transport := range []*http.Transport{c.transport, c.shared, c.fresh} {
				transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) }
			}
		})
	})
}

// waits collects the delays that a client logs.
type waits struct {
	slog.Handler
	list chan time.Duration
}

func newWaits() waits { return waits{slog.DiscardHandler, make(chan time.Duration, 1000)} }

func (waits) Enabled(context.Context, slog.Level) bool { return true }

func (w waits) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "wait" {
			w.list <- a.Value.Duration()
		}
		return true
	})
	return nil
}
