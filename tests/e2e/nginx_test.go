package e2e

import (
	"regexp"
	"strings"
	"testing"

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
			{"a body", withBody("POST "+stopPath, both, `{"a":1}`), noBody},
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

// What nginx refuses by itself is what the document describes too, with the
// caller's id or one of nginx.
func TestNginxRefusesInTheEnvelope(t *testing.T) {
	t.Parallel()
	token := mint("vm:read vm:write")
	serving, alone := startNginx(t, serve(t, nil).addr), startNginx(t, harness.FreeAddress(t))
	for _, c := range []struct {
		nginx, raw string
		status     int
		want       string
	}{
		{serving, withBody("POST "+startPath, token, strings.Repeat("x", 65<<10)), 413, `"request_body_too_large"`},
		{serving, request("GET "+statusPath, token, "X: "+strings.Repeat("x", 20<<10)), 431, `"request_header_fields_too_large"`},
		{alone, request("POST "+startPath, token), 502, `"outcome":"unknown","request_id"`},
		{alone, request("GET "+statusPath, token, "X-Request-Id: "+strings.Repeat("x", 129)), 502, `"bad_gateway"`},
		{alone, request("GET "+statusPath, token, "X-Request-Id: a\"b"), 502, `"bad_gateway"`},
		{alone, request("GET "+statusPath, token, "X-Request-Id: trace-1"), 502, `"request_id":"trace-1"`},
	} {
		got := replyTo(t, c.nginx, c.raw)
		require.Equal(t, c.status, got.Status)
		require.Contains(t, string(got.Body), c.want)
		require.Contains(t, string(got.Body), `"request_id":"`+got.Header.Get("X-Request-Id")+`"`)
		// Without an answer a write may have been carried out; nothing else says so.
		require.Equal(t, got.Status == 502 && strings.HasPrefix(c.raw, "POST"), strings.Contains(string(got.Body), `"outcome"`))
		got.Method, got.Path, _ = strings.Cut(c.raw[:strings.Index(c.raw, " HTTP/")], " ")
		require.NoError(t, contract.Check(got))
	}
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
