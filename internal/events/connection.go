package events

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
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

// lineBuffer is read from the network at a time; a longer line is gathered in
// a buffer that is let go afterwards.
const lineBuffer = 32 << 10

// errLineTooLong reports a line that was skipped; the next call goes on after it.
var errLineTooLong = errors.New("line too long")

// lineReader cuts NDJSON into lines of at most limit bytes, CR LF and white
// space around a line not counted among its text.
type lineReader struct {
	in    *bufio.Reader
	limit int
}

func newLineReader(in io.Reader, limit int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, lineBuffer), limit: limit}
}

// next returns the next line that is not blank, valid until the next call. A
// last line that has no end is returned with the error that cut it, which for
// an orderly end is io.EOF.
func (r *lineReader) next() ([]byte, error) {
	for {
		line, err := r.raw()
		if line = bytes.TrimSpace(line); len(line) > 0 || err != nil {
			return line, err
		}
	}
}

// raw returns the next line with its end.
func (r *lineReader) raw() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.gather(line)
	}
	if err == nil && len(bytes.TrimRight(line, "\r\n")) > r.limit {
		return nil, errLineTooLong
	}
	return line, err
}

// gather reads on to the end of a line that begins with first.
func (r *lineReader) gather(first []byte) ([]byte, error) {
	line := bytes.Clone(first)
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		case len(line) > r.limit:
			return nil, r.skip()
		}
	}
}

// skip reads on to the end of an overlong line.
func (r *lineReader) skip() error {
	for {
		_, err := r.in.ReadSlice('\n')
		if err == nil {
			return errLineTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// Attempt is what Try learned on its way.
type Attempt struct {
	// Asked and Answered are this machine's clock around the answer.
	Asked, Answered time.Time
	// Date is the Events API's own clock in it, to the second; zero when it
	// did not say (RFC 9110 §6.6.1).
	Date time.Time
}

// Skew is how far the Events API's clock is ahead of this machine's, as far as
// the answer proves it: zero for anything within its time and resolution.
func (a Attempt) Skew() time.Duration {
	const resolution = time.Second
	switch {
	case a.Date.IsZero():
		return 0
	case a.Date.After(a.Answered):
		return a.Date.Sub(a.Answered)
	case a.Date.Add(resolution).Before(a.Asked):
		return a.Date.Add(resolution).Sub(a.Asked)
	}
	return 0
}

// Try opens the stream of reply once, the way a Client does, and closes it
// again. A broadcast listener takes nothing from others. The error is ErrURL, a
// *RefusedError, or why there was no connection; the Attempt is filled as far
// as it came.
func Try(ctx context.Context, rawURL string, token secret.String, reply string) (Attempt, error) {
	collection, err := CollectionURL(rawURL)
	if err != nil {
		return Attempt{}, err
	}
	transport := &timed{RoundTripper: newTransport(tlsConfig())}
	query := url.Values{"name": {reply}, "delivery": {"broadcast"}}
	connection, err := listen(ctx, subscription{transport, collection, query, token, headerTimeout, func() {}})
	if err == nil {
		connection.Close()
	}
	return transport.attempt, err
}

// timed notes the clocks of one exchange.
type timed struct {
	http.RoundTripper
	attempt Attempt
}

func (t *timed) RoundTrip(request *http.Request) (*http.Response, error) {
	t.attempt.Asked = time.Now()
	reply, err := t.RoundTripper.RoundTrip(request)
	t.attempt.Answered = time.Now()
	if err == nil {
		t.attempt.Date, _ = http.ParseTime(reply.Header.Get("Date")) // zero where it is none
	}
	return reply, err
}
