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
	"sync/atomic"
	"time"
)

const (
	userAgent   = "bus-api-provider-vm"
	dialTimeout = 5 * time.Second // for a dead network path, and again for a TLS handshake
	// A peer that vanished without a word is noticed after idle + count ×
	// interval = 30 s, by the kernel (tcp(7), TCP_KEEPIDLE).
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	// headerTimeout is how long the Events API may take to begin its answer to
	// a listener, and how long it may be silent inside a replay.
	headerTimeout = 10 * time.Second
	maxHeader     = 64 << 10    // bytes of the headers of an answer
	maxAnswer     = 64 << 10    // bytes that are read of an answer that is no stream
	bodyTimeout   = time.Second // for them: the status has said it
	// maxPublishConns bounds the connections that publish at a time, for
	// lifecycle requests and for all others.
	maxPublishConns = 128
	// publishBuffer takes an ordinary publish in one piece, and its answer.
	publishBuffer = 2 << 10
	// maxConnIdle is below the keep-alive time of common servers (5 s and up),
	// so that a connection is seldom used while its server closes it.
	maxConnIdle = 4 * time.Second
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
		TLSHandshakeTimeout:    dialTimeout,
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
	return n, err // net/http returns the cause of a context that was cancelled
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
	return max(date.Sub(answered), 0) + min(date.Add(time.Second).Sub(asked), 0)
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
	err = c.streams[reply].deliverLines(answer.Body, func(Envelope) {})
	if ctx.Err() != nil {
		return ahead, nil // it was still open
	}
	return ahead, cmp.Or(err, errEnded)
}

// publish posts the event of request in the background, and yields the error of
// post. It has a context of its own, which stop ends: the reply may come first, and
// then the answer is still read, so that a shared connection can be used again.
func (c *Client) publish(request *call, pending *pending) (published <-chan error, stop context.CancelFunc) {
	ctx, stop := context.WithDeadline(c.running, request.deadline)
	done := make(chan error, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		done <- fmt.Errorf("%w: the client has ended", ErrNotSent)
		return done, stop
	}
	c.others.Go(func() {
		defer stop()
		err := c.post(ctx, request)
		// A refused token means that the event was not accepted, so sending it
		// again with another token cannot make two of it; unless the reply, which
		// came meanwhile, proves the refusal wrong.
		if c.tokenRefused(err) && pending.waits(request) {
			err = c.post(ctx, request)
		}
		done <- err
	})
	return done, stop
}

// permitted is the body of an event, of which nothing is sent unless permit allows it.
// The transport reads it after the headers, which are no event alone.
type permitted struct {
	event  *bytes.Reader
	permit func() error // nil once it has allowed it
	denied atomic.Pointer[error]
}

func (p *permitted) Read(b []byte) (int, error) {
	if p.permit != nil {
		if err := p.permit(); err != nil {
			p.denied.Store(&err)
			return 0, err
		}
		p.permit = nil
	}
	return p.event.Read(b)
}

// post sends the event of call once. Its error wraps ErrNotSent where nothing was
// carried out; any other means that the outcome is unknown. It returns
// soon after ctx ends.
func (c *Client) post(ctx context.Context, call *call) error {
	notSent := func(cause error) error { return fmt.Errorf("%w: %w", ErrNotSent, cause) }
	token, err := c.config.Token.Token()
	if err != nil {
		return notSent(err)
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			for _, s := range c.streams {
				s.resolved(info.Addrs)
			}
		},
	})
	request, err := http.NewRequestWithContext(traced, http.MethodPost, c.collection, bytes.NewReader(call.body))
	if err != nil {
		return notSent(err)
	}
	body := &permitted{event: bytes.NewReader(call.body), permit: call.Permit}
	if call.Permit != nil {
		request.Body, request.GetBody = io.NopCloser(body), nil
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", userAgent)
	transport := c.fresh
	if !call.Lifecycle {
		transport = c.shared
		// Its server may close a shared connection at this moment. So marked, the
		// transport sends the request again then (see http.Transport).
		request.Header["Idempotency-Key"] = nil
	}
	answer, err := transport.RoundTrip(request) // a Client would follow redirects
	if err == nil {
		defer answer.Body.Close()
	}
	switch denied := body.denied.Load(); {
	case denied != nil: // whatever was answered to the headers
		return notSent(*denied)
	case err != nil && !sent.Load():
		return notSent(err)
	case err != nil:
		return errors.New("reading the answer: " + clean(err.Error(), maxMessage))
	}

	text := readAnswer(answer)
	accepted := answer.StatusCode/100 == 2
	fields, _ := ReadFields(text)
	switch said, ok := fields.Bool("accepted"); {
	case accepted && (said || !ok):
		return nil
	case accepted, answer.StatusCode/100 == 4:
		return newRefusal(call.Name, answer.StatusCode, text, token)
	}
	// A proxy may have passed the event on all the same.
	return fmt.Errorf("the publish of %s was answered %d %s", call.Name, answer.StatusCode, http.StatusText(answer.StatusCode))
}
