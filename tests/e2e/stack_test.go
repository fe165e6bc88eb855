package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// stack is a gateway with all backends in events mode and an admin listener,
// and the platform that it talks to.
type stack struct {
	*gateway
	admin    string
	platform *platform.Platform
}

func startPlatform(t testing.TB) *platform.Platform {
	t.Helper()
	p, err := platform.Start(platform.Config{Secret: jwtSecret})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// serveStack starts one whose every wait is short. Later entries of env win.
func serveStack(t testing.TB, env ...string) *stack {
	t.Helper()
	p := startPlatform(t)
	token := p.ProviderToken()
	logged.keepOut(token)
	g, admin := serveAdmin(t, append([]string{
		"BUS_VM_BACKEND=events", "BUS_VM_BILLING_BACKEND=events", "BUS_VM_USAGE_BACKEND=events",
		"BUS_EVENTS_API_URL=" + p.URL(), "BUS_API_TOKEN=" + token, "BUS_VM_DATA_DIR=" + t.TempDir(),
		"BUS_EVENTS_LISTENER_RETRY_MIN=50ms", "BUS_EVENTS_LISTENER_RETRY_MAX=200ms",
		"BUS_VM_TIMEOUT=500ms", "BUS_VM_STATUS_MAX_AGE=500ms", "BUS_VM_STATUS_REFRESH=100ms", "BUS_VM_STATUS_REFRESH_MOVING=100ms",
	}, env...))
	return &stack{g, admin, p}
}

// providerJWT is a token of a provider with a scope and a time to live.
func providerJWT(scope string, ttl time.Duration) string {
	token := platform.Token(jwtSecret, platform.Claims{Scope: scope, TTL: ttl})
	logged.keepOut(token)
	return token
}

// send makes one request whose answer is of no interest.
func (g *gateway) send(raw string) {
	c, err := dialTo(g.addr)
	if err != nil {
		return // it was stopped, or has no room
	}
	defer c.Close()
	_, _ = c.send(raw).reply("POST")
}

func (g *gateway) read()  { g.send(request("GET "+statusPath, mint("vm:read"))) }
func (g *gateway) start() { g.send(request("POST "+startPath, mint("vm:write"))) }

// Something else than an Events API at its URL is named by what it answers, in
// the log and by the doctor.
func TestNoEventsAPIThere(t *testing.T) {
	t.Parallel()
	const page = "Down for maintenance, password=hunter2"
	for name, c := range map[string]struct {
		kind, body string
		want       string
	}{
		"a page":         {"text/html", "<html>" + page, `"text/html" instead of application/x-ndjson`},
		"plain text":     {"text/plain", page, `no event stream, it begins "Down for maintenance, password=[redacted]"`},
		"of no type":     {"", page, `no event stream, it begins "Down for maintenance, password=[redacted]"`},
		"JSON":           {"application/json", `{"status":"maintenance"}`, `no event stream, it begins "{\"status\":\"maintenance\"}"`},
		"nothing at all": {"application/x-ndjson", "", "ended the stream"},
		"hanging up":     {"", "", "closed without an answer"},
	} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.kind == "" {
				w.Header()["Content-Type"] = nil
				if c.body == "" {
					panic(http.ErrAbortHandler)
				}
			}
			w.Header().Set("Content-Type", c.kind)
			_, _ = io.WriteString(w, c.body)
		}))
		env := []string{"BUS_VM_BACKEND=events", "BUS_EVENTS_API_URL=" + api.URL, "BUS_API_TOKEN=" + providerJWT(platform.ProviderScope, 48*time.Hour)}
		g := serve(t, env)
		var log string
		harness.Eventually(t, name, func() bool {
			log = strings.ReplaceAll(g.stderr.String(), `\`, "")
			return strings.Contains(log, strings.ReplaceAll(c.want, `\`, ""))
		}, g.stderr)
		require.NotContains(t, log, "cause=EOF", name)
		g.stop(t)
		findings, _ := diagnose(t, env)
		require.Equal(t, map[string]string{"events": "failed"}, failures(findings), name)
		require.Contains(t, findings["events"][0].Detail, c.want, name)
		api.Close()
	}
}
