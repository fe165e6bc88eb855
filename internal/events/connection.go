package events

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	// headerTimeout is how long the Events API may take to begin its answer to
	// a listener, and how long it may be silent inside a replay.
	headerTimeout = 10 * time.Second
	// maxHeader bounds the headers of that answer, in bytes.
	maxHeader = 64 << 10
	// maxReason is read of a refusal's body, in bytes.
	maxReason = 4 << 10
)

// Why a connection that still seems good is given up.
var (
	errSilent    = errors.New("the stream was silent for too long")
	errSuspected = errors.New("a request found no reply on a silent stream")
)

// newTransport is for streams alone: every connection is its own, no answer is
// redirected, decompressed, or bounded in time.
func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:            newDialer().DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		DisableKeepAlives:      true,
	}
}

// connection is one open answer to a listener. A Read that yields nothing for
// as long as the watchdog allows ends it.
type connection struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	body     io.ReadCloser
	watchdog *time.Timer
	patience time.Duration
	heard    func() // called for each successful read
}

// listen opens the stream query of collection. A status other than 200 is a
// *RefusedError. The connection ends with ctx.
func listen(ctx context.Context, transport http.RoundTripper, collection string, query url.Values, token secret.String,
	patience time.Duration, heard func(),
) (*connection, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, collection+"/stream?"+query.Encode(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Accept", "application/x-ndjson")
	request.Header.Set("User-Agent", userAgent)
	reply, err := transport.RoundTrip(request)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	c := &connection{ctx: ctx, cancel: cancel, body: reply.Body, patience: headerTimeout, heard: func() {}}
	c.watchdog = time.AfterFunc(c.patience, func() { cancel(errSilent) })
	if reply.StatusCode != http.StatusOK {
		defer c.Close()
		return nil, &RefusedError{Event: query.Get("name"), Status: reply.StatusCode, Reason: c.reason()}
	}
	if kind := reply.Header.Get("Content-Type"); !isLines(kind) {
		c.Close()
		return nil, fmt.Errorf("the answer is %q instead of application/x-ndjson; check the Events URL", clean(kind, maxType))
	}
	c.patience, c.heard = patience, heard
	c.watchdog.Reset(patience)
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
		c.watchdog.Reset(c.patience)
		c.heard()
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
