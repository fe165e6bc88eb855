package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	userAgent = "bus-api-provider-vm"
	// maxPublishConns bounds the connections that publish at a time, for
	// lifecycle requests and for all others.
	maxPublishConns = 128
	// maxConnIdle is below the keep-alive time of common servers (5 s and up),
	// so that a connection is seldom used while its server closes it.
	maxConnIdle = 4 * time.Second
	// bodyTimeout bounds how long the body of an answer may take: the status has
	// said it.
	bodyTimeout = time.Second
)

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

// permission begins the body of an event, and is empty unless permit denies that
// the event is sent. The transport has sent the headers when it reads the body,
// and without a body there is no event.
type permission struct {
	permit func() error
	denied atomic.Pointer[error]
}

func (p *permission) Read([]byte) (int, error) {
	if err := p.permit(); err != nil {
		p.denied.Store(&err)
		return 0, err
	}
	return 0, io.EOF
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
	permission := &permission{permit: call.Permit}
	if call.Permit != nil {
		request.Body, request.GetBody = io.NopCloser(io.MultiReader(permission, request.Body)), nil
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
	switch denied := permission.denied.Load(); {
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
