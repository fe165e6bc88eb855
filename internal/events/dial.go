package events

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"time"
)

// What a dead network path may cost, on streams and publishes alike.
const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// A peer that vanished without a word is noticed after idle + count ×
	// interval = 30 s, by the kernel (tcp(7), TCP_KEEPIDLE).
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
)

func newDialer() *net.Dialer {
	return &net.Dialer{
		Timeout: dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		},
	}
}

// dialTo returns a function that connects to the server of u, its TLS
// handshake included.
func dialTo(u *url.URL, config *tls.Config) func(context.Context) (net.Conn, error) {
	dialer := newDialer()
	port := u.Port()
	if port == "" {
		port = u.Scheme // a service name that every resolver knows
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "http" {
		return func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", address) }
	}
	secured := &tls.Dialer{NetDialer: dialer, Config: config}
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout+handshakeTimeout)
		defer cancel()
		return secured.DialContext(ctx, "tcp", address)
	}
}
