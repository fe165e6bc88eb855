package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/contract"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// startNginx runs real nginx in front of upstreams, see harness.Nginx.
func startNginx(t testing.TB, upstreams ...string) (addr string) {
	t.Helper()
	return harness.Nginx(t, shipped(t, "nginx/bus-vm.conf"), upstreams...)
}

// hopByHop are the lines of a reply that belong to one connection or server.
var hopByHop = regexp.MustCompile(`\n(Connection|Server): [^\n]*`)

// carried is what of a reply nginx passes on, unchanged.
func carried(reply string) string { return hopByHop.ReplaceAllString(reply, "") }

func TestAPIThroughNginx(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/vm.sock"} {
		nginx := startNginx(t, serve(t, nil, "--addr", addr).addr)
		both, read := mint("vm:read vm:write"), mint("vm:read")
		for _, c := range []struct{ name, raw, want string }{
			{"status", request("GET "+statusPath, read), okStatus},
			{"status by HEAD", request("HEAD "+statusPath, read), headOf(okStatus)},
			{"stop", request("POST "+stopPath, both), okStop},
			{"status after it", request("GET "+statusPath, read), okStopped},
			{"start with a body", withBody("POST "+startPath, both, "{}"), okStart},
			{"start in chunks", request("POST "+startPath, both, "Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n", okStart},
			{"readyz", request("GET /readyz", ""), okReady},
			{"no token", request("GET "+statusPath, ""), missingToken},
			{"bad token", request("POST "+startPath, "not.a.token"), invalidToken},
			{"lacking scope", request("POST "+startPath, read), lacking("vm:write")},
			{"a body", withBody("POST "+stopPath, both, `{"a":1}`), wantsNoBody},
			{"nothing there", request("GET /api/v1/vm/reboot", both), notFound},
			{"wrong method", request("POST "+statusPath, both), readOnly},
			{"token of 8 KB", request("GET "+statusPath, sized(8<<10)), okStatus},
			{"write with a token of 8 KB", request("POST "+startPath, sized(8<<10)), okStart},
			{"16 KB of headers", filled("GET "+statusPath, both, 16<<10), okStatus},
			{"16 KB of headers to write", filled("POST "+startPath, both, 16<<10), okStart},
		} {
			require.Equal(t, carried(c.want), carried(ask(t, nginx, c.raw)), c.name)
		}
		own := request("GET "+statusPath, both, "X-Request-Id: trace-1")
		require.Contains(t, ask(t, nginx, own), "\nX-Request-Id: trace-1\n")
	}
}

// What nginx refuses by itself, on any path, is what the document describes too,
// with the caller's id or one of nginx.
func TestNginxRefusesInTheEnvelope(t *testing.T) {
	t.Parallel()
	token := mint("vm:read vm:write")
	serving, alone := startNginx(t, serve(t, nil).addr), startNginx(t, harness.FreeAddress(t))
	stalls := startUpstream(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	slow := harness.Nginx(t, strings.Replace(shipped(t, "nginx/bus-vm.conf"), "proxy_read_timeout 75s;", "proxy_read_timeout 200ms;", 1), stalls.addr)
	limited := func(more string) (addr string) {
		addr = harness.Nginx(t, "limit_req_zone $nginx_version zone=all:32k rate=1r/m;\n"+
			strings.Replace(shipped(t, "nginx/bus-vm.conf"), "proxy_cache off;", "proxy_cache off; limit_req zone=all;"+more, 1), harness.FreeAddress(t))
		require.Equal(t, 502, replyTo(t, addr, request("GET /readyz", "")).Status)
		return addr
	}
	full, hurried := limited(""), limited("limit_req_status 429;")
	// What decides about access is away: nginx's own 500.
	broken := harness.Nginx(t, strings.Replace(shipped(t, "nginx/bus-vm.conf"), "location /api/v1/vm/ {", "location /api/v1/vm/ { auth_request /livez;", 1), harness.FreeAddress(t))
	lines := func(line, rest string) string { return line + "\r\nHost: x\r\n" + rest + "\r\n" }
	const unknown, notSent = `"outcome":"unknown",`, `"outcome":"not_sent",`
	for _, c := range []struct {
		nginx, raw string
		status     int
		kind       string
		outcome    string
	}{
		{serving, withBody("POST "+startPath, token, strings.Repeat("x", 65<<10)), 413, "request_body_too_large", ""},
		{serving, withBody("POST /x", token, strings.Repeat("x", 65<<10)), 413, "request_body_too_large", ""},
		{serving, request("POST "+startPath, token, "Content-Length: 1000000"), 413, "request_body_too_large", ""},
		{serving, request("GET "+statusPath, token, "X: "+strings.Repeat("x", 20<<10)), 431, "request_header_fields_too_large", ""},
		{serving, request("GET /x"+strings.Repeat("x", 20<<10), token), 431, "request_header_fields_too_large", ""},
		{serving, request("GET /bus_vm_refusal", ""), 404, "not_found", ""},
		{serving, request("GET /", ""), 404, "not_found", ""},
		{serving, request("GET /index.html", ""), 404, "not_found", ""},
		{serving, request("POST /", ""), 404, "not_found", ""},
		{serving, request("GET /api/v1/vm", ""), 404, "not_found", ""},
		{serving, request("GET /api/v1", ""), 404, "not_found", ""},
		{serving, request("GET /api/v1/vm/../../..", ""), 404, "not_found", ""},
		{serving, request("TRACE "+statusPath, ""), 405, "method_not_allowed", ""},
		{serving, request("TRACE "+startPath, ""), 405, "method_not_allowed", ""},
		{serving, request("TRACE /x", ""), 405, "method_not_allowed", ""},
		{serving, request("GET /../x", ""), 400, "bad_request", ""},
		{serving, "GET / HTTP/1.1\r\n\r\n", 400, "bad_request", ""},
		{serving, lines("GET / HTTP/1.1", "Host: y\r\n"), 400, "bad_request", ""},
		{serving, lines("G{T / HTTP/1.1", ""), 400, "bad_request", ""},
		{serving, lines("GET / ICY/1.1", ""), 400, "bad_request", ""},
		{serving, lines("POST "+startPath+" HTTP/1.1", "Transfer-Encoding: gzip\r\n"), 400, "bad_request", ""},
		{serving, lines("GET / HTTP/2.0", ""), 505, "http_version_not_supported", ""},
		{alone, request("GET /", ""), 404, "not_found", ""},
		{alone, request("GET /livez", ""), 502, "bad_gateway", ""},
		{alone, request("GET /readyz", ""), 502, "bad_gateway", ""},
		{alone, request("POST "+startPath, token), 502, "bad_gateway", unknown},
		{alone, request("GET "+statusPath, token, "X-Request-Id: "+strings.Repeat("x", 129)), 502, "bad_gateway", ""},
		{alone, request("GET "+statusPath, token, "X-Request-Id: a\"b"), 502, "bad_gateway", ""},
		{alone, request("GET "+statusPath, token, "X-Request-Id: trace-1"), 502, "bad_gateway", ""},
		{slow, request("POST "+startPath, token), 502, "bad_gateway", unknown},
		{slow, request("GET "+statusPath, token), 502, "bad_gateway", ""},
		{hurried, request("POST "+startPath, token), 429, "too_many_requests", notSent},
		{hurried, request("GET "+statusPath, token), 429, "too_many_requests", ""},
		{broken, request("POST "+startPath, token), 500, "internal_error", unknown},
		{broken, request("GET "+statusPath, token), 500, "internal_error", ""},
		{full, request("POST "+startPath, token), 503, "backend_unavailable", notSent},
		{full, request("GET "+statusPath, token), 503, "backend_unavailable", ""},
	} {
		about := c.raw[:min(60, len(c.raw))]
		got := replyTo(t, c.nginx, c.raw)
		require.Equal(t, c.status, got.Status, about)
		id := got.Header.Get("X-Request-Id")
		require.Regexp(t, `^\{"error":\{"type":"`+c.kind+`","message":"[^"]+",`+c.outcome+`"request_id":"`+id+`"\}\}$`, string(got.Body), about)
		require.Equal(t, c.status == 502 && c.outcome == unknown, strings.Contains(string(got.Body), "may have been carried out"), about)
		if strings.Contains(c.raw, "trace-1") {
			require.Equal(t, "trace-1", id)
		}
		got.Method, got.Path, _ = strings.Cut(c.raw[:strings.IndexByte(c.raw, '\r')-len(" HTTP/1.1")], " ")
		if c.nginx == alone && !strings.HasPrefix(got.Path, "/api/") || c.status == 400 || c.status == 429 && got.Method == "GET" {
			got.Method, got.Path = "", "" // the document of the gateway has no 502 where none is behind it, nor a limit on reads
		}
		require.NoError(t, contract.Check(got), about)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		require.Equal(t, carried(okReady), carried(ask(t, serving, request("GET "+path, ""))))
	}
	require.Equal(t, "404 Not Found", ask(t, serving, request("HEAD /", ""))[:13])
}

// sized is a good token of a number of bytes, more or less.
func sized(bytes int) string {
	return mintWith(`"padding":"` + strings.Repeat("x", bytes*3/4-300) + `"`)
}

// filled is a request whose line and headers take a number of bytes exactly.
func filled(line, token string, bytes int) string {
	plain := request(line, token, "X-Padding: ")
	return request(line, token, "X-Padding: "+strings.Repeat("x", bytes-len(plain)))
}

// Real nginx passes a wait on that is as long as wait.max allows for its time-out.
func TestWaitThroughNginx(t *testing.T) {
	t.Parallel()
	g := serve(t, []string{"BUS_VM_WAIT_MAX=2s"}, "--static-transition", "1h")
	conf := strings.Replace(shipped(t, "nginx/bus-vm.conf"), "proxy_read_timeout 75s;", "proxy_read_timeout 3s;", 1)
	nginx := harness.Nginx(t, conf, g.addr)
	token := mint("vm:read vm:write")
	require.Equal(t, jsonReply("202 Accepted", located+"\n"+retryLater+"\n"+waitedFor(2), stopped), carried(ask(t, nginx, request("POST "+stopPath, token, "Prefer: wait=50"))))
	got := replyTo(t, nginx, request("GET "+statusPath, token, "Prefer: wait=50", "If-None-Match: W/"+tagOf(state("stopping"))))
	assert.Equal(t, http.StatusNotModified, got.Status)
	assert.Equal(t, "wait=2", got.Header.Get("Preference-Applied"))
}
