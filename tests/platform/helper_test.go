package platform_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	account = "00000000-0000-4000-8000-000000000001"
	// ping and pong are unprotected event names; faults concern pong's listeners
	// and ping's publishers.
	ping  = "example.ping"
	pong  = "example.pong.response"
	every = platform.ProviderScope + " events:send events:listen"
)

type object = map[string]any

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func begin(t *testing.T) *platform.Platform {
	t.Helper()
	p, err := platform.Start(platform.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func publish(t *testing.T, ctx context.Context, p *platform.Platform, name, correlation string, payload any) error {
	t.Helper()
	c := platform.NewClient(p.URL(), platform.Token(platform.DevSecret, platform.Claims{Scope: every}))
	t.Cleanup(c.Close)
	return c.Publish(ctx, platform.Message{Name: name, CorrelationID: correlation, Payload: payload})
}

func send(t *testing.T, p *platform.Platform, name, correlation string, payload any) {
	t.Helper()
	require.NoError(t, publish(t, within(t), p, name, correlation, payload))
}

// call makes one request; its answer is closed when the test ends.
func call(t *testing.T, method, url, token, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{}
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = res.Body.Close()
		transport.CloseIdleConnections()
	})
	return res
}

// reader is a stream read as raw lines, line ends included.
type reader struct{ *bufio.Reader }

// listen opens a stream and returns once its headers are there.
func listen(t *testing.T, p *platform.Platform, subject, query string) reader {
	t.Helper()
	token := platform.Token(platform.DevSecret, platform.Claims{Subject: subject, Scope: every})
	res := call(t, http.MethodGet, p.URL()+"/api/v1/events/stream?"+query, token, "")
	require.Equal(t, http.StatusOK, res.StatusCode)
	return reader{bufio.NewReader(res.Body)}
}

type event struct {
	CorrelationID  string
	Payload, Error json.RawMessage
}

func (r reader) event(t *testing.T) (ev event) {
	t.Helper()
	line, err := r.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &ev))
	return ev
}

// correlations returns the correlation ids of the next n events.
func (r reader) correlations(t *testing.T, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, r.event(t).CorrelationID)
	}
	return ids
}
