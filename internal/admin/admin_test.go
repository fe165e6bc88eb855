package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/trace"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const waitLimit = 20 * time.Second

// running is a server on a socket.
type running struct {
	addr   string
	client *http.Client
	cancel context.CancelFunc
	ended  chan error
}

// serve runs a server until the test ends, or ends it.
func serve(t *testing.T, config admin.Config) *running {
	t.Helper()
	config.Metrics, config.Logger = metrics.NewSet(), slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{l.Addr().String(), &http.Client{Transport: &http.Transport{}, Timeout: waitLimit}, cancel, make(chan error, 1)}
	go func() { r.ended <- admin.Serve(ctx, l, config) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		r.stop(t)
	})
	return r
}

// stop ends the server and expects that it ends well.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		assert.NoError(t, err)
		r.ended <- nil // for the next call
	case <-time.After(waitLimit):
		t.Error("it does not end")
	}
}

type reply struct {
	Status      int
	Type, Cache string
	Body        string
}

func (r *running) ask(t *testing.T, method, path string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.addr+path, nil)
	require.NoError(t, err)
	response, err := r.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return reply{response.StatusCode, response.Header.Get("Content-Type"), response.Header.Get("Cache-Control"), string(body)}
}

const (
	plain    = "text/plain; charset=utf-8"
	document = "application/json"
)

func TestHealth(t *testing.T) {
	var down error
	r := serve(t, admin.Config{Checks: []admin.Check{
		{Name: "not draining", Ready: func() error { return nil }},
		{Name: "reply streams", Ready: func() error { return down }},
	}})
	ok, bad := "{\"ok\":true}\n", "{\"ok\":false}\n"
	for _, c := range []struct {
		name, method, path string
		down               error
		want               reply
	}{
		{"live", "GET", "/livez", nil, reply{200, document, "no-store", ok}},
		{"live while unready", "GET", "/livez", errors.New("x"), reply{200, document, "no-store", ok}},
		{"ready", "GET", "/readyz", nil, reply{200, document, "no-store", ok}},
		{"unready", "GET", "/readyz", errors.New("b.response is away"), reply{503, document, "no-store", bad}},
		{"by HEAD", "HEAD", "/readyz", errors.New("x"), reply{503, document, "no-store", ""}},
		{"ready in detail", "GET", "/readyz?verbose", nil, reply{200, plain, "no-store", "[+] not draining ok\n[+] reply streams ok\n"}},
		{"unready in detail", "GET", "/readyz?verbose=1", errors.New("b.response is away"),
			reply{503, plain, "no-store", "[+] not draining ok\n[-] reply streams: b.response is away\n"}},
		{"by POST", "POST", "/livez", nil, reply{405, plain, "", "Method Not Allowed\n"}},
		{"nothing there", "GET", "/x", nil, reply{404, plain, "", "404 page not found\n"}},
		{"a document that there is not", "GET", "/debug/store", nil, reply{404, plain, "", "404 page not found\n"}},
	} {
		down = c.down
		assert.Equal(t, c.want, r.ask(t, c.method, c.path), c.name)
	}
}

func TestDocuments(t *testing.T) {
	var broken error
	report := store.Report{Waiting: 3, DamagedFiles: []string{"f"}, ParkedRecords: []store.Parked{}}
	r := serve(t, admin.Config{Endpoints: map[string]admin.Endpoint{
		"GET /debug/store": func(context.Context, string) (any, error) { return report, broken },
	}})
	assert.JSONEq(t, `{"waiting_records":3,"parked_records":0,"oldest_record_age_seconds":0,"damaged_files":["f"],
		"parked":[]}`, r.ask(t, "GET", "/debug/store").Body)
	broken = errors.New("closed")
	assert.Equal(t, reply{500, document, "no-store", "{\"error\":\"closed\"}\n"}, r.ask(t, "GET", "/debug/store"))
}

// Ending waits neither for a trace that was to take ten minutes, nor for a
// connection that is silent or kept alive.
func TestEndCutsConnections(t *testing.T) {
	r := serve(t, admin.Config{Pprof: true})
	silent, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	defer silent.Close()
	assert.Equal(t, 200, r.ask(t, "GET", "/livez").Status)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		response, err := r.client.Get("http://" + r.addr + "/debug/pprof/trace?seconds=600")
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}()
	require.Eventually(t, trace.IsEnabled, waitLimit, time.Millisecond)
	assert.Equal(t, 200, r.ask(t, "GET", "/livez").Status)
	r.stop(t)
	<-answered
	assert.False(t, trace.IsEnabled())
}

// Serve returns after the last of its handlers, not before.
func TestEndWaitsForHandlers(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := serve(t, admin.Config{Endpoints: map[string]admin.Endpoint{
		"GET /debug/usage": func(context.Context, string) (any, error) {
			close(entered)
			<-release
			return nil, nil
		},
	}})
	c, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /debug/usage HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	<-entered
	r.cancel()
	_, err = io.ReadAll(c) // until the connection is cut
	_ = err
	select {
	case <-r.ended:
		t.Error("it ended while a handler was running")
		r.ended <- nil
	default:
	}
	close(release)
	r.stop(t)
}
