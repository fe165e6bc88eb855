package events

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	userAgent = "bus-api-provider-vm"
	// maxPublishConns bounds the connections that publish at a time, for
	// lifecycle requests and for all others.
	maxPublishConns = 128
	// maxConnIdle is below the keep-alive time of common servers (5 s and up),
	// so that a connection is seldom used while its server closes it.
	maxConnIdle = 4 * time.Second
	// maxPublishAnswer bounds what is read of the body of an answer, in bytes,
	// and bodyTimeout how long that may take: the status has said it.
	maxPublishAnswer = 64 << 10
	bodyTimeout      = time.Second
)

// errUnsent marks a publish that found no connection: nothing was sent.
var errUnsent = errors.New("not sent")

// publisher posts to the collection. Lifecycle requests go out on a connection
// of their own each: an idle one may have been closed by its server, and then it
// is unknown whether the request was read. All others share connections;
// one that fails on a used connection is sent again on a fresh one.
type publisher struct {
	collection    string
	shared, fresh *http.Transport
	connected     func(remote net.Addr) // called for each new connection
}

func newPublisher(collection string, config *tls.Config, connected func(net.Addr)) *publisher {
	shared := newTransport(config)
	shared.ResponseHeaderTimeout = 0 // the context bounds it
	shared.MaxConnsPerHost = maxPublishConns
	fresh := shared.Clone()
	fresh.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: -1}).DialContext // used once, and soon
	shared.DisableKeepAlives = false
	shared.IdleConnTimeout = maxConnIdle
	shared.MaxIdleConnsPerHost = maxPublishConns
	return &publisher{collection, shared, fresh, connected}
}

// answer is what the Events API said to a publish.
type answer struct {
	status   int
	accepted bool
	reason   string // of a refusal; cleaned
}

// post sends body, on a connection of its own if fresh, and returns the answer.
// An error that wraps errUnsent means that nothing was sent; after any other the
// outcome is unknown. It returns soon after ctx ends.
func (p *publisher) post(ctx context.Context, token secret.String, body []byte, fresh bool) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sent, reused atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			sent.Store(true)
			if reused.Store(info.Reused); !info.Reused {
				p.connected(info.Conn.RemoteAddr())
			}
		},
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.collection, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errUnsent, err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", userAgent)
	transport := p.shared
	if fresh {
		transport = p.fresh
	}
	reply, err := transport.RoundTrip(request) // a Client would follow redirects
	if err != nil && reused.Load() && ctx.Err() == nil {
		// Its server may have closed the connection at this moment. Whatever
		// shares connections may be asked twice.
		request = request.Clone(ctx)
		request.Body = io.NopCloser(bytes.NewReader(body))
		reply, err = p.fresh.RoundTrip(request)
	}
	switch {
	case err != nil && !sent.Load():
		return answer{}, fmt.Errorf("%w: %w", errUnsent, err)
	case err != nil:
		return answer{}, fmt.Errorf("reading the answer: %s", clean(err.Error(), maxMessage))
	}
	defer reply.Body.Close()
	late := time.AfterFunc(bodyTimeout, cancel)
	text, _ := io.ReadAll(io.LimitReader(reply.Body, maxPublishAnswer)) // what came is enough
	late.Stop()
	return judge(reply.StatusCode, text), nil
}

// judge reads an answer: every 2xx accepts, unless its body says otherwise.
func judge(status int, body []byte) answer {
	a := answer{status: status}
	if status >= http.StatusOK && status < http.StatusMultipleChoices {
		a.accepted = true
		if fields, err := ReadFields(body, "accepted"); err == nil {
			if accepted, ok := fields.Bool("accepted"); ok {
				a.accepted = accepted
			}
		}
	}
	if !a.accepted {
		a.reason = refusalReason(body)
	}
	return a
}

// refusalReason reads the event error in the body of a refusal; empty where
// there is none.
func refusalReason(body []byte) string {
	fields, err := ReadFields(body, "error")
	if err != nil {
		return ""
	}
	if failure := remoteError(fields["error"]); failure != nil {
		return failure.Error()
	}
	return ""
}

func (p *publisher) close() {
	p.shared.CloseIdleConnections()
	p.fresh.CloseIdleConnections()
}
