package events

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	// What a dead network path may cost, on streams and publishes alike.
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// A peer that vanished without a word is noticed after idle + count ×
	// interval = 30 s, by the kernel (tcp(7), TCP_KEEPIDLE).
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	// headerTimeout is how long the Events API may take to begin its answer to
	// a listener, and how long it may be silent inside a replay.
	headerTimeout = 10 * time.Second
	// maxHeader bounds the headers of an answer, in bytes.
	maxHeader = 64 << 10
	// maxReason is read of a refusal's body, in bytes.
	maxReason = 4 << 10
)

// newTransport returns one whose every connection is used once, and which
// decompresses nothing. It obeys the proxy variables (http.ProxyFromEnvironment).
func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout: dialTimeout,
			KeepAliveConfig: net.KeepAliveConfig{
				Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
			},
		}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		DisableKeepAlives:      true,
	}
}

// tlsConfig is for all connections: a resumed session saves half the cost of a
// fresh one.
func tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}

// connection is one open answer to a listener. A Read that yields nothing for
// as long as the watchdog allows ends it.
type connection struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	body     io.ReadCloser
	remote   string // the host at the other end, as an address
	watchdog *time.Timer
	silence  time.Duration // the longest that is allowed
	received func()        // called for each successful read
}

// subscription is what listen opens.
type subscription struct {
	transport  http.RoundTripper
	collection string
	query      url.Values
	token      secret.String
	silence    time.Duration
	received   func()
}

// listen opens the stream that s asks for. A status other than 200 is a
// *RefusedError. The connection ends with ctx.
func listen(ctx context.Context, s subscription) (*connection, error) {
	c := &connection{silence: headerTimeout, received: func() {}}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	traced := httptrace.WithClientTrace(c.ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { c.remote = hostOf(info.Conn.RemoteAddr()) },
	})
	request, err := http.NewRequestWithContext(traced, http.MethodGet, s.collection+"/stream?"+s.query.Encode(), nil)
	if err != nil {
		c.cancel(nil)
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	request.Header.Set("Accept", "application/x-ndjson")
	request.Header.Set("User-Agent", userAgent)
	reply, err := s.transport.RoundTrip(request)
	if err != nil {
		c.cancel(nil)
		return nil, err
	}
	c.body = reply.Body
	c.watchdog = time.AfterFunc(c.silence, func() { c.cancel(errSilent) })
	if reply.StatusCode != http.StatusOK {
		defer c.Close()
		return nil, &RefusedError{Event: s.query.Get("name"), Status: reply.StatusCode, Reason: c.reason()}
	}
	if kind := reply.Header.Get("Content-Type"); !isLines(kind) {
		c.Close()
		return nil, fmt.Errorf("the answer is %q instead of application/x-ndjson; check the Events URL", clean(kind, maxType))
	}
	c.silence, c.received = s.silence, s.received
	c.watchdog.Reset(c.silence)
	return c, nil
}

// isLines reports whether a content type may be lines of JSON: what servers
// write for it, or the default of those that write nothing.
func isLines(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (strings.Contains(kind, "json") || kind == "text/plain")
}

// reason reads why the Events API refused.
func (c *connection) reason() string {
	body, _ := io.ReadAll(io.LimitReader(c, maxReason)) // what came is enough
	return refusalReason(body)
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if n > 0 {
		c.watchdog.Reset(c.silence)
		c.received()
	}
	if cause := context.Cause(c.ctx); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

func (c *connection) Close() {
	c.watchdog.Stop()
	c.cancel(nil)
	_ = c.body.Close() // whatever it says, the connection is not used again
}
