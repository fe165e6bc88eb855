package admin_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/admin"
)

// send makes a request with headers, Host among them; the test closes the body.
func (r *running) send(t *testing.T, method, path string, headers map[string]string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.addr+path, nil)
	require.NoError(t, err)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	if host := headers["Host"]; host != "" {
		request.Host = host
	}
	response, err := r.client.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// upstream serves handler as the API, and returns where.
func upstream(t *testing.T, network, addr string, handler http.HandlerFunc) net.Addr {
	t.Helper()
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	server := http.Server{Handler: handler}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return l.Addr()
}

func TestPageIsServed(t *testing.T) {
	r := serve(t, admin.Config{})
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.js": "text/javascript; charset=utf-8", "/page.css": "text/css; charset=utf-8", "/page.svg": "image/svg+xml",
	} {
		got := r.ask(t, "GET", path)
		assert.Equal(t, []any{200, want, "no-cache"}, []any{got.Status, got.Type, got.Cache}, path)
		for _, foreign := range []string{"http://", "https://", " style=", "<style", "<script>", " onclick="} {
			assert.NotContains(t, strings.ReplaceAll(got.Body, "http://www.w3.org/2000/svg", ""), foreign, path)
		}
	}
}

// No other page may frame, call or read any of it.
func TestPagesOfOthersAreKeptOut(t *testing.T) {
	r := serve(t, admin.Config{
		Pprof: true,
		Endpoints: map[string]admin.Endpoint{
			"GET /debug/store": func(context.Context, string) (any, error) { return 1, nil },
			"POST /usage/list": func(context.Context, string) (any, error) { return 1, nil },
		},
		API: upstream(t, "tcp", "127.0.0.1:0", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }),
	})
	own := "http://" + r.addr
	for _, c := range []struct {
		method, path string
		headers      map[string]string
		want         int
	}{
		{"GET", "/", map[string]string{"Host": "localhost:9085"}, 200},
		{"GET", "/", map[string]string{"Host": "[::1]:9085"}, 200},
		{"GET", "/", map[string]string{"Host": "10.0.0.7"}, 200},
		{"GET", "/", map[string]string{"Host": "evil.example"}, 421},
		{"GET", "/", map[string]string{"Host": "localhost.evil.example:9085"}, 421},
		{"GET", "/", map[string]string{"Host": "127.0.0.1.evil.example"}, 421},
		{"GET", "/page.js", map[string]string{"Host": "evil.example"}, 421},
		{"GET", "/debug/store", map[string]string{"Host": "evil.example:9085"}, 421},
		{"GET", "/debug/pprof/cmdline", map[string]string{"Host": "evil.example:9085"}, 421},
		{"POST", "/usage/list", map[string]string{"Host": "evil.example", "Origin": "http://evil.example"}, 421},
		{"GET", "/api/v1/vm/status", map[string]string{"Host": "evil.example"}, 421},
		{"POST", "/api/v1/vm/start", map[string]string{"Host": "evil.example", "Origin": "http://evil.example"}, 421},
		// Prometheus and probes go by any name.
		{"GET", "/metrics", map[string]string{"Host": "vm:9085"}, 200},
		{"GET", "/readyz", map[string]string{"Host": "vm:9085"}, 200},
		{"GET", "/livez", map[string]string{"Host": "vm:9085"}, 200},

		{"POST", "/api/v1/vm/start", nil, 202}, // no browser
		{"POST", "/api/v1/vm/start", map[string]string{"Origin": own}, 202},
		{"POST", "/api/v1/vm/start", map[string]string{"Origin": own, "Sec-Fetch-Site": "same-origin"}, 202},
		{"POST", "/api/v1/vm/start", map[string]string{"Origin": "http://evil.example"}, 403},
		{"POST", "/api/v1/vm/start", map[string]string{"Origin": "http://127.0.0.1:1"}, 403},
		{"POST", "/api/v1/vm/start", map[string]string{"Origin": "null"}, 403},
		{"POST", "/api/v1/vm/start", map[string]string{"Origin": own, "Sec-Fetch-Site": "cross-site"}, 403},
		{"POST", "/usage/list", map[string]string{"Origin": own}, 200},
		{"POST", "/usage/list", map[string]string{"Origin": "http://evil.example"}, 403},
	} {
		got := r.send(t, c.method, c.path, c.headers)
		assert.Equal(t, c.want, got.StatusCode, "%s %s %v", c.method, c.path, c.headers)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		} {
			assert.Equal(t, want, got.Header.Get(name), "%s %s", c.method, c.path)
		}
		assert.Empty(t, got.Header.Get("Access-Control-Allow-Origin"))
	}
}

// The API answers here as on its own listener, at once and byte by byte.
func TestAPIIsServed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": socket} {
		next, left := make(chan string), make(chan struct{})
		r := serve(t, admin.Config{API: upstream(t, network, addr, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v1/vm/events" {
				w.Header().Set("X-Request-Id", r.Header.Get("X-Request-Id"))
				w.WriteHeader(http.StatusConflict)
				body, _ := io.ReadAll(r.Body)
				_, _ = io.WriteString(w, strings.Join([]string{r.Method, r.URL.RequestURI(), r.Host, string(body),
					r.Header.Get("Authorization"), r.Header.Get("Prefer"), r.Header.Get("Idempotency-Key"), r.Header.Get("X-Forwarded-For")}, "|"))
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for text := range next {
				_, _ = io.WriteString(w, text)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			close(left)
		})})
		got := r.send(t, "POST", "/api/v1/vm/start?x=%2F", map[string]string{
			"Authorization": "Bearer t", "Prefer": "wait=5", "Idempotency-Key": "k", "X-Request-Id": "mine", "Host": "localhost:1", "X-Forwarded-For": "1.2.3.4",
		})
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		assert.Equal(t, []any{409, "mine", "POST|/api/v1/vm/start?x=%2F|localhost:1||Bearer t|wait=5|k|"}, []any{got.StatusCode, got.Header.Get("X-Request-Id"), string(body)}, network)

		stream := r.send(t, "GET", "/api/v1/vm/events", nil)
		lines := bufio.NewReader(stream.Body)
		for _, text := range []string{": one\n", "event: two\n"} {
			next <- text // before the handler writes more
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, text, line, network)
		}
		close(next)
		_ = stream.Body.Close()
		<-left // that the reader has gone reaches the API
	}
}

// Of a service that is gone the caller learns whether something may have been done.
func TestAPIIsAway(t *testing.T) {
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	for name, c := range map[string]struct {
		api     net.Addr
		outcome string
	}{
		"not there":  {gone.Addr(), "not_sent"},
		"hanging up": {upstream(t, "tcp", "127.0.0.1:0", hangUp), "unknown"},
	} {
		r := serve(t, admin.Config{API: c.api})
		got := r.ask(t, "POST", "/api/v1/vm/start")
		assert.Equal(t, []any{503, document, "no-store"}, []any{got.Status, got.Type, got.Cache}, name)
		assert.JSONEq(t, `{"error":{"type":"backend_unavailable","message":"This instance does not serve the API now: it is about to end.","outcome":"`+c.outcome+`"}}`, got.Body, name)
		got = r.ask(t, "GET", "/api/v1/vm/status")
		assert.JSONEq(t, `{"error":{"type":"backend_unavailable","message":"This instance does not serve the API now: it is about to end."}}`, got.Body, name)
	}
}
