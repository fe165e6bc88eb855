package platform_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
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
	ping      = "example.ping"
	pong      = "example.pong.response"
	pingScope = "events:send events:listen"
)

type object = map[string]any

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startEvents(t *testing.T) *platform.Events {
	t.Helper()
	e := platform.NewEvents(platform.EventsConfig{})
	require.NoError(t, e.Start())
	t.Cleanup(func() { require.NoError(t, e.Stop()) })
	return e
}

func startPlatform(t *testing.T) (*platform.Platform, *platform.Client) {
	t.Helper()
	p, err := platform.Start(platform.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p, client(t, p.Events, platform.Claims{Scope: platform.ProviderScope})
}

func client(t *testing.T, e *platform.Events, claims platform.Claims) *platform.Client {
	t.Helper()
	c := platform.NewClient(e.URL(), platform.Token(platform.DevSecret, claims))
	t.Cleanup(c.Close)
	return c
}

func send(t *testing.T, e *platform.Events, name, correlation string) {
	t.Helper()
	_, err := client(t, e, platform.Claims{Scope: pingScope}).Publish(within(t), platform.Message{Name: name, CorrelationID: correlation, Payload: 0})
	require.NoError(t, err)
}

// call makes one request and returns the whole answer.
func call(t *testing.T, method, url, token, body string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(all)
}

// reader is a stream read as raw lines, line ends included.
type reader struct{ *bufio.Reader }

// listen opens a stream and returns once its headers are there.
func listen(t *testing.T, e *platform.Events, subject, query string) reader {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, e.URL()+"/api/v1/events/stream?"+query, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+platform.Token(platform.DevSecret,
		platform.Claims{Subject: subject, Scope: pingScope + " " + platform.ProviderScope}))
	transport := &http.Transport{}
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = res.Body.Close()
		transport.CloseIdleConnections()
	})
	require.Equal(t, http.StatusOK, res.StatusCode)
	return reader{bufio.NewReader(res.Body)}
}

func (r reader) line(t *testing.T) string {
	t.Helper()
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	return line
}

// correlations returns the correlation ids of the next n envelopes.
func (r reader) correlations(t *testing.T, n int) (ids []string) {
	t.Helper()
	for range n {
		var env platform.Envelope
		require.NoError(t, json.Unmarshal([]byte(r.line(t)), &env))
		ids = append(ids, env.CorrelationID)
	}
	return ids
}
