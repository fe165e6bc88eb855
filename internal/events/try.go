package events

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

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
