package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// The paths and the documents of the API.
const (
	statusPath = "/api/v1/vm/status"
	startPath  = "/api/v1/vm/start"
	stopPath   = "/api/v1/vm/stop"

	// located is the header of a write that has an operation.
	located = "Location: /api/v1/vm/operations/<id>"

	started = `{"accepted":true,"action":"start"}`
	stopped = `{"accepted":true,"action":"stop"}`
)

// state is the status document of the static backend.
func state(name string) string {
	return `{"status":{"state":"` + name + `","provider":"static","details":{}}}`
}

// retryIn5 is sent while the runtime moves, and nothing says for how long.
const retryIn5 = "Retry-After: 5"

// retryLater is how a 202 says when.
const retryLater = "Retry-After: <seconds>"

// tagOf is the entity tag of a document.
func tagOf(document string) string {
	sum := sha256.Sum256([]byte(document))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// showing is the reply to a read; headers are further lines.
func showing(document, headers string) string {
	return jsonReply("200 OK", "Etag: "+tagOf(document)+"\n"+headers, document)
}

// The replies that recur.
var (
	okReady      = jsonReply("200 OK", "", `{"ok":true}`)
	okStatus     = showing(state("ready"), "")
	okStopped    = showing(state("stopped"), "")
	okStart      = jsonReply("202 Accepted", located+"\n"+retryLater, started)
	okStop       = jsonReply("202 Accepted", located+"\n"+retryLater, stopped)
	missingToken = refusal("401 Unauthorized", "invalid_auth", "Send a bearer token: Authorization: Bearer <jwt>.",
		`Www-Authenticate: Bearer realm="bus-vm"`)
	invalidToken = refusal("401 Unauthorized", "invalid_auth", "The bearer token is not valid for this API.",
		`Www-Authenticate: Bearer realm="bus-vm", error="invalid_token"`)
	expiredToken = refusal("401 Unauthorized", "invalid_auth", "The bearer token has expired. Get a new one.",
		`Www-Authenticate: Bearer realm="bus-vm", error="invalid_token", error_description="the token has expired"`)
	twoTokens = refusal("401 Unauthorized", "invalid_auth", "Send exactly one Authorization header.",
		`Www-Authenticate: Bearer realm="bus-vm", error="invalid_token"`)
	notFound    = refusal("404 Not Found", "not_found", "There is nothing at this path.", "")
	readOnly    = refusal("405 Method Not Allowed", "method_not_allowed", "This path takes only GET, HEAD.", "Allow: GET, HEAD")
	writeOnly   = refusal("405 Method Not Allowed", "method_not_allowed", "This path takes only POST.", "Allow: POST")
	wantsNoBody = refusal("400 Bad Request", "bad_request", "This request takes no parameters: send no body, or an empty JSON object.", "")
)

func lacking(scope string) string {
	return refusal("403 Forbidden", "insufficient_access", "The token lacks the scope "+scope+".",
		`Www-Authenticate: Bearer realm="bus-vm", error="insufficient_scope", scope="`+scope+`"`)
}

// headOf is the reply to HEAD where GET is answered with get.
func headOf(get string) string {
	head, body, _ := strings.Cut(get, "\n\n")
	return strings.Replace(head, "Content-Type", contentLength(body)+"\nContent-Type", 1) + "\n\n"
}

// What contract §2 says, in order: writes change what later reads show. The tests of
// routes and middleware have every path, method, scope and body.
func TestAPI(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	both, read, write, neither := mint("vm:read vm:write"), mint("vm:read"), mint("vm:write"), mint("vm:readx xvm:write")
	for _, c := range []struct{ name, raw, want string }{
		{"status", request("GET "+statusPath, read), okStatus},
		{"status with both scopes", request("GET "+statusPath, both), okStatus},
		{"status by HEAD", request("HEAD "+statusPath, read), headOf(okStatus)},
		{"status with a query", request("GET "+statusPath+"?a=b", read), okStatus},
		{"stop", request("POST "+stopPath, write), okStop},
		{"status after it", request("GET "+statusPath, read), okStopped},
		{"stop again", request("POST "+stopPath, write), okStop},
		{"start", request("POST "+startPath, write), okStart},
		{"status after that", request("GET "+statusPath, read), okStatus},
		{"readyz without a token", request("GET /readyz", ""), okReady},
		{"readyz by HEAD", request("HEAD /readyz", ""), headOf(okReady)},
		{"livez", request("GET /livez", ""), okReady},
		{"livez by HEAD", request("HEAD /livez", ""), headOf(okReady)},

		{"body of zero bytes", withBody("POST "+startPath, write, ""), okStart},
		{"empty object", withBody("POST "+startPath, write, "{}"), okStart},
		{"empty object in chunks", request("POST "+startPath, write, "Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n", okStart},
		{"object with a member", withBody("POST "+stopPath, write, `{"force":true}`), wantsNoBody},
		{"form", request("POST "+stopPath, write, "Content-Type: multipart/form-data; boundary=b", contentLength("--b--\r\n")) + "--b--\r\n", wantsNoBody},
		{"broken form", request("POST "+stopPath, write, "Content-Type: multipart/form-data; boundary=b", contentLength("x")) + "x", wantsNoBody},
		{"broken form, no token", request("POST "+stopPath, "", "Content-Type: multipart/form-data; boundary=b", contentLength("x")) + "x", missingToken},
		{"empty object as text", request("POST "+startPath, write, "Content-Type: text/plain", contentLength("{}")) + "{}", okStart},
		{"none of those stopped it", request("GET "+statusPath, read), okStatus},

		{"no token to read", request("GET "+statusPath, ""), missingToken},
		{"no token to start", request("POST "+startPath, ""), missingToken},
		{"no such token", request("GET "+statusPath, "not.a.token"), invalidToken},
		{"write does not imply read", request("GET "+statusPath, write), lacking("vm:read")},
		{"read does not imply start", request("POST "+startPath, read), lacking("vm:write")},
		{"scopes match whole", request("GET "+statusPath, neither), lacking("vm:read")},

		{"nothing there", request("GET /", both), notFound},
		{"post to status", request("POST "+statusPath, both), readOnly},
		{"head of stop", request("HEAD "+stopPath, both), headOf(writeOnly)},
		{"unknown method on a path", request("PROPFIND "+startPath, both), writeOnly},
	} {
		require.Equal(t, c.want, ask(t, g.addr, c.raw), c.name)
	}
}

// The static backend as configured: first state, and the states in between
// while a transition lasts.
func TestStaticBackendAsConfigured(t *testing.T) {
	t.Parallel()
	g := serve(t, nil, "--static-state", "hibernated", "--static-transition", "1h")
	token := mint("vm:read vm:write")
	for _, step := range []struct{ line, want string }{
		{"GET " + statusPath, showing(state("hibernated"), "")},
		{"POST " + startPath, okStart},
		{"GET " + statusPath, showing(state("starting"), retryIn5)},
		{"POST " + stopPath, okStop},
		{"GET " + statusPath, showing(state("stopping"), retryIn5)},
	} {
		require.Equal(t, step.want, ask(t, g.addr, request(step.line, token)), step.line)
	}

	g = serve(t, nil, "--static-transition", "1ms")
	require.Equal(t, okStop, ask(t, g.addr, request("POST "+stopPath, token)))
	harness.Eventually(t, "stopped", func() bool {
		return ask(t, g.addr, request("GET "+statusPath, token)) == okStopped
	})
}
