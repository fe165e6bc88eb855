package e2e

import (
	"encoding/json"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// adminLine is the part of the serving line that says where operators go.
var adminLine = regexp.MustCompile(`msg"?[=:]"?serving.*?admin"?[=:]"?([^" \n]+)`)

// serveAdmin is serve with an admin listener, whose address it returns.
func serveAdmin(t testing.TB, env []string, args ...string) (g *gateway, admin string) {
	t.Helper()
	g = serve(t, append([]string{"BUS_VM_ADMIN_ADDR=127.0.0.1:0"}, env...), args...)
	return g, g.says(t, adminLine)
}

// adminPaths are what operators may ask for, profiles included.
var adminPaths = []string{
	"/", "/page.js", "/page.css", "/metrics", "/debug/usage", "/debug/store", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/vars",
}

// Nothing of the admin listener answers on the public address, for any caller.
func TestAdminListenerStandsApart(t *testing.T) {
	t.Parallel()
	g, _ := serveAdmin(t, []string{"BUS_VM_ADMIN_PPROF=1"}, "--usage-backend", "memory")
	for _, path := range adminPaths {
		for _, token := range []string{"", mint("vm:read vm:write"), mint("admin metrics *")} {
			require.Equal(t, notFound, ask(t, g.addr, request("GET "+path, token)), path)
			require.Equal(t, notFound, ask(t, g.addr, request("POST "+path, token)), path)
		}
	}
	require.Equal(t, okReady, ask(t, g.addr, request("GET /readyz?verbose", "")))
	require.Equal(t, okReady, ask(t, g.addr, request("GET /livez?verbose", "")))
}

// The API answers on the admin listener with all of its checks, so that the page there
// has it on its own origin; pages of others have nothing there.
func TestAdminListenerServesTheAPI(t *testing.T) {
	t.Parallel()
	headers := regexp.MustCompile(`(?m)^(Content-Security-Policy: default-src 'self'; frame-ancestors 'none'|Referrer-Policy: no-referrer|X-Content-Type-Options: nosniff)\n`)
	for name, env := range map[string][]string{"TCP": nil, "unix socket": {"BUS_VM_ADDR=unix:" + t.TempDir() + "/api.sock"}} {
		g, admin := serveAdmin(t, env)
		onAdmin := func(raw string) string { return strings.Replace(raw, "Host: vm.test", "Host: "+admin, 1) }
		for _, c := range []struct{ line, token string }{
			{"GET " + statusPath, mint("vm:read")}, {"GET " + statusPath, ""}, {"GET " + statusPath, mint("vm:write")},
			{"POST " + startPath, mint("vm:write")}, {"POST " + startPath, mint("vm:read")}, {"POST " + startPath, "x"}, {"DELETE " + stopPath, ""}, {"GET /api/v1/vm/x", ""},
		} {
			raw := request(c.line, c.token, "X-Request-Id: mine")
			got := ask(t, admin, onAdmin(raw))
			require.Len(t, headers.FindAllString(got, -1), 3, got)
			require.Equal(t, ask(t, g.addr, raw), headers.ReplaceAllString(got, ""), "%s %s", name, c.line)
		}
	}
}

// What is there is there, over TCP and over a unix socket of the service's own
// user, and profiles only where they were asked for.
func TestAdminListenerShows(t *testing.T) {
	t.Parallel()
	socket, group := t.TempDir()+"/admin.sock", strconv.Itoa(os.Getgid())
	if os.Getuid() == 0 { // who alone may give it to another group
		group = "54321"
	}
	for name, c := range map[string]struct {
		env     []string
		pprof   int
		overTCP bool
	}{
		"TCP":         {nil, 404, true},
		"unix socket": {[]string{"BUS_VM_ADMIN_ADDR=unix:" + socket, "BUS_VM_SOCKET_MODE=0666", "BUS_VM_SOCKET_GROUP=" + group}, 404, false},
		"profiles":    {[]string{"BUS_VM_ADMIN_PPROF=yes"}, 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, admin := serveAdmin(t, c.env, "--usage-backend", "memory")
			if !c.overTCP {
				require.Equal(t, socket, admin)
				info, err := os.Stat(socket)
				require.NoError(t, err)
				require.Equal(t, os.ModeSocket|0o600, info.Mode())
				require.EqualValues(t, os.Getgid(), info.Sys().(*syscall.Stat_t).Gid, "the group of the API's socket")
			}
			for path, want := range map[string]string{
				"/livez": "{\"ok\":true}\n", "/readyz": "{\"ok\":true}\n", "/readyz?verbose": "[+] not draining ok\n[+] operations store ok\n",
			} {
				status, body := harness.Get(t, admin, path, "")
				require.Equal(t, []any{200, want}, []any{status, body}, path)
			}
			status, body := harness.Get(t, admin, "/metrics", "")
			require.Equal(t, 200, status)
			require.Contains(t, body, "\nbus_vm_http_requests_in_flight{route=\"status\"} 0\n")
			for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
				status, _ = harness.Get(t, admin, path, "")
				require.Equal(t, c.pprof, status, path)
			}
		})
	}
}

// Local checks read their usage records there; without usage there are none.
func TestUsageIsReadable(t *testing.T) {
	t.Parallel()
	g, admin := serveAdmin(t, nil, "--usage-backend", "memory")
	token := mint("vm:write")
	require.Equal(t, okStart, ask(t, g.addr, request("POST "+startPath, token)))
	status, body := harness.Get(t, admin, "/debug/usage", "")
	require.Equal(t, 200, status)
	var got struct {
		Records []struct {
			Type    string `json:"event_type"`
			Account string `json:"account_id"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	require.Len(t, got.Records, 2, body)
	for i, want := range []string{"runtime_start_requested", "runtime_start_finished"} {
		require.Equal(t, want, got.Records[i].Type)
		require.Equal(t, "9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", got.Records[i].Account)
	}

	_, admin = serveAdmin(t, nil)
	status, body = harness.Get(t, admin, "/debug/usage", "")
	require.Equal(t, []any{200, "{\"records\":[]}\n"}, []any{status, body})
	status, body = harness.Get(t, admin, "/debug/store", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"waiting_records":0,"parked_records":0,"oldest_record_age_seconds":0,"damaged_files":[],"parked":[]}`, body)
}

// Without a word about it there is no second listener.
func TestAdminListenerIsOffByDefault(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	require.Regexp(t, `msg=serving.* admin=""`, g.stderr.String())
}

// Both ends of the admin listener belong to the drain: it is there while
// requests are, and gone with the process.
func TestAdminListenerSaysDraining(t *testing.T) {
	t.Parallel()
	g, admin := serveAdmin(t, []string{"BUS_VM_SHUTDOWN_DELAY=2s"})
	g.signal(t, os.Interrupt)
	harness.Eventually(t, "readyz of the admin listener unready", func() bool {
		status, body := harness.Get(t, admin, "/readyz?verbose", "")
		return status == 503 && strings.Contains(body, "[-] not draining: ")
	})
	status, _ := harness.Get(t, admin, "/livez", "")
	require.Equal(t, 200, status)
	require.Equal(t, 0, g.wait(t))
	_, err := net.Dial("tcp", admin)
	require.Error(t, err)
}
