package events

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
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
	// maxAnswer is read of the body of an answer that is no stream, in bytes.
	maxAnswer = 64 << 10
)

// newTransport returns one whose every connection is used once, and which
// decompresses nothing. It obeys the proxy variables (http.ProxyFromEnvironment).
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout: dialTimeout,
			KeepAliveConfig: net.KeepAliveConfig{
				Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
			},
		}).DialContext,
		// A resumed session saves half the cost of a fresh one.
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		DisableKeepAlives:      true,
	}
}

// historyOnly is what asks for the history of a stream alone, beside its name.
const historyOnly = "&replay=true&follow=false"

// subscribe asks for the stream of reply, in the way that options say. An answer
// that is no stream comes with an error, a *RefusedError for its status.
func (c *Client) subscribe(ctx context.Context, reply, options string) (*http.Response, error) {
	token, err := c.config.Token.Token()
	if err != nil {
		return nil, err
	}
	target := c.collection + "/stream?name=" + url.QueryEscape(reply) + "&delivery=broadcast" + options
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Accept", "application/x-ndjson")
	request.Header.Set("User-Agent", userAgent)
	answer, err := c.transport.RoundTrip(request)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the connection was closed without an answer")
	case err != nil:
		return nil, err
	}
	kind := answer.Header.Get("Content-Type")
	switch {
	case answer.StatusCode != http.StatusOK:
		err = newRefusal(reply, answer.StatusCode, readAnswer(answer), token)
	case !isLines(kind):
		err = fmt.Errorf("the answer is %q instead of application/x-ndjson; check the Events URL", clean(kind, maxType))
	default:
		return answer, nil
	}
	_ = answer.Body.Close() // the connection is not used again
	return answer, err
}

// readAnswer reads the body of an answer that is no stream: what came is enough.
func readAnswer(answer *http.Response) []byte {
	defer time.AfterFunc(bodyTimeout, func() { _ = answer.Body.Close() }).Stop()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return text
}

// isLines reports whether a content type may be lines of JSON: what servers
// write for it, or the default of those that write nothing.
func isLines(contentType string) bool {
	kind := strings.ToLower(contentType)
	return kind == "" || strings.Contains(kind, "json") || strings.HasPrefix(kind, "text/plain")
}

// connection is one open answer to a listener. A Read that yields nothing for
// as long as the watchdog allows ends it.
type connection struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	body     io.ReadCloser
	opened   time.Time
	remote   net.IP // the other end; nil where that is no IP address
	watchdog *time.Timer
	silence  time.Duration // the longest that is allowed
	received func()        // called for each successful read
}

// listen opens the stream of reply, in the way that options say. The connection
// ends with ctx.
func (c *Client) listen(ctx context.Context, reply, options string, silence time.Duration, received func()) (*connection, error) {
	conn := &connection{silence: silence, received: received}
	conn.ctx, conn.cancel = context.WithCancelCause(ctx)
	traced := httptrace.WithClientTrace(conn.ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if address, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
			conn.remote = address.IP
		}
	}})
	answer, err := c.subscribe(traced, reply, options)
	if err != nil {
		conn.cancel(nil)
		return nil, err
	}
	conn.body, conn.opened = answer.Body, time.Now()
	conn.watchdog = time.AfterFunc(silence, func() { conn.cancel(errSilent) })
	return conn, nil
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

// nextLine returns the next line of NDJSON that is not blank, without the white
// space around it, valid until the next call. A last line that has no end is
// returned with the error that cut it, which for an orderly end is io.EOF. Of a
// line of more than limit bytes, its end not counted, no more is kept in memory.
func nextLine(in *bufio.Reader, limit int) ([]byte, error) {
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			line = bytes.Clone(line) // the reader goes on to use its buffer
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			var part []byte
			if part, err = in.ReadSlice('\n'); len(line) <= limit {
				line = append(line, part...)
			}
		}
		if len(bytes.TrimRight(line, "\r\n")) > limit {
			return nil, cmp.Or(err, errLineTooLong)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 || err != nil {
			return line, err
		}
	}
}

// skew is how far the Events API's clock is ahead of this machine's, as far as an
// answer of that date proves it: zero for anything within its time and resolution.
func skew(date, asked, answered time.Time) time.Duration {
	const resolution = time.Second
	return max(date.Sub(answered), 0) + min(date.Add(resolution).Sub(asked), 0)
}

// tryTime is how long Try watches a stream. A page that stands in for the Events
// API ends at once, a stream does not.
const tryTime = 300 * time.Millisecond

// Try opens the stream of reply once, as Run does, and closes it again. A broadcast
// listener takes nothing from others. The error is a *RefusedError, or why there
// was no stream. ahead is how far the clock of the Events API is ahead of this
// machine's, nil where no answer told it (RFC 9110 §6.6.1).
func (c *Client) Try(ctx context.Context, reply string) (ahead *time.Duration, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := time.Now()
	answer, err := c.subscribe(ctx, reply, "")
	if answer != nil {
		defer answer.Body.Close()
		if date, wrong := http.ParseTime(answer.Header.Get("Date")); wrong == nil {
			ahead = new(skew(date, asked, time.Now()))
		}
	}
	if err != nil {
		return ahead, err
	}
	defer time.AfterFunc(tryTime, cancel).Stop()
	err = c.streams[reply].deliverLines(answer.Body, func(Envelope) bool { return true })
	if ctx.Err() != nil {
		return ahead, nil // it was still open
	}
	return ahead, cmp.Or(err, errEnded)
}
