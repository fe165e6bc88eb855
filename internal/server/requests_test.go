package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// refusals are the whole answers to a request that cannot be taken, by status.
var refusals = map[int][]string{
	400: {
		refusal("400 Bad Request", "bad_request", "The request is not valid HTTP/1.1."),
		refusal("400 Bad Request", "bad_request", errHeaderLine.Message),
		refusal("400 Bad Request", "bad_request", errFramedTwice.Message),
		refusal("400 Bad Request", "bad_request", errEncoding.Message),
	},
	408: {refusal("408 Request Timeout", "request_timeout", "The request did not arrive in time.")},
	413: {refusal("413 Request Entity Too Large", "request_body_too_large", "The request body is too large.")},
	431: {refusal("431 Request Header Fields Too Large", "request_header_fields_too_large",
		"The request line and headers are too large.")},
}

// Each bad request gets one answer, whole and in the envelope, that repeats
// nothing of it; then the connection closes in order, and what the request
// carried behind it is never looked at.
func TestBadRequests(t *testing.T) {
	server := start(t, nil, nil)
	requests := hostile.BadRequests()
	require.Greater(t, len(requests), 40)
	for _, request := range requests {
		t.Run(request.Name, func(t *testing.T) {
			t.Parallel()
			got := wire.Anonymous(wire.Exchange(t, server.Addr(), request.Raw))
			got = strings.TrimPrefix(got, "HTTP/1.1 100 Continue\n\n")
			require.Len(t, request.Want, 1)
			if !slices.Contains(refusals[request.Want[0]], got) {
				assert.Equal(t, refusals[request.Want[0]][0], got)
			}
			assert.NotContains(t, got, hostile.Canary)
		})
	}
}

// Unusual requests that are good HTTP, and what each gets. `live` is 200,
// other texts are the status line; all close their connection.
func TestOddRequests(t *testing.T) {
	server := start(t, nil, nil)
	const end = "Host: x\r\nConnection: close\r\n\r\n"
	live := lastLive
	notFound := refusal("404 Not Found", "not_found", "There is nothing at this path.")
	onlyGet := withAllow("GET, HEAD")
	onlyPost := withAllow("POST")
	for _, c := range []struct{ name, raw, want string }{
		{"HTTP/1.0", "GET /livez HTTP/1.0\r\n\r\n", live},
		{"HTTP/1.0 with a Host", "GET /livez HTTP/1.0\r\nHost: x\r\n\r\n", live},
		{"HTTP/1.2", "GET /livez HTTP/1.2\r\nConnection: close\r\n\r\n", live},
		{"empty lines before", "\r\n\r\nGET /livez HTTP/1.1\r\n" + end, live},
		// fasthttp ends the request line here and keeps no trace of how it ended.
		{"bare line feed behind the request line", "GET /livez HTTP/1.1\n" + end, live},
		{"absolute form", "GET http://example.org/livez HTTP/1.1\r\n" + end, live},
		{"absolute form of https", "GET https://example.org:8443/livez?a=b HTTP/1.1\r\n" + end, live},
		{"absolute form of nowhere", "GET http://example.org/x HTTP/1.1\r\n" + end, notFound},
		{"absolute form without a path", "GET http://example.org HTTP/1.1\r\n" + end, notFound},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\n" + end, notFound},
		{"authority form", "CONNECT " + hostile.Canary + ":443 HTTP/1.1\r\n" + end, notFound},
		{"TRACE", "TRACE /livez HTTP/1.1\r\nX-A: " + hostile.Canary + "\r\n" + end, onlyGet},
		{"OPTIONS", "OPTIONS /api/v1/vm/start HTTP/1.1\r\n" + end, onlyPost},
		{"unknown method", "QUERY /livez HTTP/1.1\r\n" + end, onlyGet},
		{"unknown method elsewhere", "PROPFIND /" + hostile.Canary + " HTTP/1.1\r\n" + end, notFound},
		{"unknown method with a body", "PROPFIND /livez HTTP/1.1\r\nContent-Length: 2\r\n" + end + "{}", onlyGet},
		{"unknown method, doubled slash", "QUERY //livez HTTP/1.1\r\n" + end, notFound},
		{"unknown method, encoded path", "QUERY /%6civez HTTP/1.1\r\n" + end, notFound},
		{"unknown method, dots", "QUERY /x/../livez HTTP/1.1\r\n" + end, notFound},
		{"method in lower case", "get /livez HTTP/1.1\r\n" + end, onlyGet},
		{"unknown Expect", "GET /livez HTTP/1.1\r\nExpect: " + hostile.Canary + "\r\n" + end, live},
		{"Upgrade", "GET /livez HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n" + end, live},
		{"query", "GET /livez?a=" + hostile.Canary + "&a HTTP/1.1\r\n" + end, live},
		{"body of a GET", "GET /livez HTTP/1.1\r\nContent-Length: 3\r\n" + end + "abc", live},
		{"white space around a value", "GET /livez HTTP/1.1\r\nConnection: \t close \t \r\nHost:x\r\n\r\n", live},
		{"chunk extension and trailer", "GET /livez HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n" + end +
			"2;a=b;c=\"d\"\r\n{}\r\n0;e\r\nX-A: " + hostile.Canary + "\r\n\r\n", live},
		{"broken form", "GET /livez HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5\r\n" + end + "xxxxx", live},
		{"100 Continue", "GET /livez HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + end + "{}",
			"HTTP/1.1 100 Continue\n\n" + live},
		{"HEAD", "HEAD /livez HTTP/1.1\r\n" + end, headOf(live)},
		{"HEAD of nothing", "HEAD /" + hostile.Canary + " HTTP/1.1\r\n" + end, headOf(notFound)},
		{"HEAD where POST belongs", "HEAD /api/v1/vm/stop HTTP/1.1\r\n" + end, headOf(onlyPost)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := wire.Anonymous(wire.Exchange(t, server.Addr(), c.raw))
			assert.Equal(t, c.want, got)
			assert.NotContains(t, got, hostile.Canary)
		})
	}
}

func withAllow(methods string) string {
	return strings.Replace(
		refusal("405 Method Not Allowed", "method_not_allowed", "This path takes only "+methods+"."),
		"Connection:", "Allow: "+methods+"\nConnection:", 1)
}

func headOf(answer string) string {
	head, _, _ := strings.Cut(answer, "\n\n")
	return head + "\n\n"
}

// A request id that is well-formed is taken wherever the request could be
// read, and nowhere else.
func TestRequestIDs(t *testing.T) {
	server := start(t, nil, nil)
	const mine = "Host: x\r\nConnection: close\r\nX-Request-Id: mine-7\r\n"
	for line, taken := range map[string]bool{
		"GET /livez HTTP/1.1\r\n" + mine:                                                true,
		"GET /nowhere HTTP/1.1\r\n" + mine:                                              true,
		"POST /livez HTTP/1.1\r\n" + mine:                                               true,
		"POST /api/v1/vm/start HTTP/1.1\r\n" + mine:                                     true,
		"QUERY /livez HTTP/1.1\r\n" + mine:                                              true,
		"GET /livez HTTP/1.1\r\n" + mine + "Content-Length: 1\r\nContent-Length: 1\r\n": false,
		"GET /livez HTTP/1.1\r\n" + mine + "Content-Length: 9999999\r\n":                false,
	} {
		got := wire.Exchange(t, server.Addr(), line+"\r\n")
		assert.Equal(t, taken, strings.Contains(got, "\r\nX-Request-Id: mine-7\r\n"), got)
		assert.Equal(t, taken && !strings.HasPrefix(got, "HTTP/1.1 200"), strings.Contains(got, `"request_id":"mine-7"`), got)
	}
}

// Pipelined requests are answered in order, up to and including the first bad
// one; nothing behind it is.
func TestPipelining(t *testing.T) {
	server := start(t, nil, nil)
	notFound := strings.Replace(refusal("404 Not Found", "not_found", "There is nothing at this path."), "Connection: close\n", "", 1)
	const last = liveAndClose
	bad := "GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"
	twice := "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + getLive
	withBody := "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" + getLive + "........"
	for name, c := range map[string]struct{ raw, want string }{
		"good":              {getLive + getLive + last, live + live + lastLive},
		"good and unknown":  {getLive + "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + last, live + notFound + lastLive},
		"with a HEAD":       {"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n" + last, headOf(live) + lastLive},
		"good and bad":      {getLive + bad + getLive, live + refusals[400][0]},
		"bad and good":      {bad + getLive, refusals[400][0]},
		"good and both":     {getLive + twice + getLive, live + refusal("400 Bad Request", "bad_request", errFramedTwice.Message)},
		"body like a head":  {withBody + last, notFound + lastLive},
		"last and one more": {last + getLive, lastLive},
		"many":              {strings.Repeat(getLive, 50) + last, strings.Repeat(live, 50) + lastLive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, wire.Anonymous(wire.Exchange(t, server.Addr(), c.raw)))
		})
	}
}

// A connection outlives the refusals that leave its framing whole.
func TestKeepAliveAfterRefusals(t *testing.T) {
	c, answers := start(t, nil, nil).dial(t)
	for _, request := range []struct{ raw, want string }{
		{"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
		{"QUERY /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 405 "},
		{"POST /api/v1/vm/start HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 401 "},
		{"GET /api/v1/vm/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n", "HTTP/1.1 401 "},
		{getLive, "HTTP/1.1 200 "},
	} {
		wire.Send(t, c, request.raw)
		got := wire.Next(t, answers, "GET")
		assert.Contains(t, got, request.want)
		assert.NotContains(t, got, "Connection: close")
	}
}
