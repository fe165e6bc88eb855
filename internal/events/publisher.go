package events

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	// maxPublishAnswer bounds the body of an answer, in bytes.
	maxPublishAnswer = 64 << 10
	userAgent        = "bus-api-provider-vm"
)

// errUnsent marks a publish of which not one byte left this process.
var errUnsent = errors.New("not sent")

// publisher posts to the collection. It writes requests by itself, because no
// HTTP client says whether a byte was written before it failed; nothing is
// ever sent twice.
type publisher struct {
	pool *pool
	head string // request line and headers up to the token
}

func newPublisher(collection *url.URL, config *tls.Config) *publisher {
	return &publisher{
		pool: newPool(dialTo(collection, config)),
		head: "POST " + collection.EscapedPath() + " HTTP/1.1\r\nHost: " + collection.Host +
			"\r\nUser-Agent: " + userAgent + "\r\nContent-Type: application/json\r\nAuthorization: Bearer ",
	}
}

// answer is what the Events API said to a publish.
type answer struct {
	status   int
	accepted bool
	reason   string // of a refusal; cleaned
}

// post sends body and returns the answer. An error that wraps errUnsent means
// that nothing was sent; after any other the outcome is unknown. It returns
// when ctx ends, which must have a deadline.
func (p *publisher) post(ctx context.Context, token secret.String, body []byte) (answer, error) {
	if ctx.Err() != nil { // its deadline would spoil the connections it looks at
		return answer{}, fmt.Errorf("%w: %w", errUnsent, context.Cause(ctx))
	}
	conn, err := p.pool.get(ctx)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errUnsent, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	reply, reusable, err := p.exchange(conn, token, body)
	p.pool.put(conn, stop() && reusable)
	return reply, err
}

// exchange writes the request with one call, so that an error beside zero
// written bytes proves it unsent, and reads the answer.
func (p *publisher) exchange(conn *pooledConn, token secret.String, body []byte) (_ answer, reusable bool, _ error) {
	request := make([]byte, 0, len(p.head)+len(token.Reveal())+len(body)+64)
	request = append(append(request, p.head...), token.Reveal()...)
	request = strconv.AppendInt(append(request, "\r\nContent-Length: "...), int64(len(body)), 10)
	request = append(append(request, "\r\n\r\n"...), body...)
	if n, err := conn.Write(request); err != nil {
		if n == 0 {
			err = fmt.Errorf("%w: %w", errUnsent, err)
		}
		return answer{}, false, err
	}

	reply := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(reply)
	if err := reply.ReadLimitBody(conn.in, maxPublishAnswer); err != nil {
		return answer{}, false, fmt.Errorf("reading the answer: %s", clean(err.Error(), maxMessage))
	}
	return judge(reply), !reply.ConnectionClose() && conn.in.Buffered() == 0, nil
}

// judge reads an answer: every 2xx accepts, unless its body says otherwise.
func judge(reply *fasthttp.Response) answer {
	a := answer{status: reply.StatusCode()}
	if a.status >= http.StatusOK && a.status < http.StatusMultipleChoices {
		var body struct {
			Accepted *bool `json:"accepted"`
		}
		_ = json.Unmarshal(reply.Body(), &body) // what is no JSON says nothing
		a.accepted = body.Accepted == nil || *body.Accepted
	}
	if !a.accepted {
		a.reason = refusalReason(reply.Body())
	}
	return a
}

// refusalReason reads the event error in the body of a refusal; empty where
// there is none.
func refusalReason(body []byte) string {
	var refusal struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &refusal) != nil {
		return ""
	}
	if failure := remoteError(refusal.Error); failure != nil {
		return failure.Error()
	}
	return ""
}
