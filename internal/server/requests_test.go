package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// refusals are the whole answers to a request that cannot be taken, by status.
var refusals = map[int][]string{
	400: {
		refusal("400 Bad Request", "bad_request", errNotHTTP.Message),
		refusal("400 Bad Request", "bad_request", errTarget.Message),
		refusal("400 Bad Request", "bad_request", faults[fastconn.ErrFramedTwice].Message),
		refusal("400 Bad Request", "bad_request", faults[fastconn.ErrEncoding].Message),
	},
	408: {refusal("408 Request Timeout", "request_timeout", "The request did not arrive in time.")},
	413: {refusal("413 Request Entity Too Large", "request_body_too_large", "The request body is too large.")},
	431: {refusal("431 Request Header Fields Too Large", "request_header_fields_too_large",
		"The request line and headers are too large or too many.")},
	505: {refusal("505 HTTP Version Not Supported", "http_version_not_supported", "This server takes only HTTP/1.1.")},
}

// Each request gets one answer, whole and in the envelope, that repeats nothing of
// it. Where the connection closes it does so in order, and what the request carried
// behind it is never looked at; else it serves the next request.
func TestRequests(t *testing.T) {
	server := start(t, nil, nil)
	challenged := func(message, challenge string) string {
		return strings.Replace(refusal("401 Unauthorized", "invalid_auth", message), "Connection:",
			`Www-Authenticate: Bearer realm="bus-vm"`+challenge+"\nConnection:", 1)
	}
	answers := map[int][]string{
		200: {live},
		401: {challenged("Send a bearer token: Authorization: Bearer <jwt>.", ""), challenged("The bearer token is not valid for this API.", `, error="invalid_token"`)},
		404: {refusal("404 Not Found", "not_found", "There is nothing at this path.")},
	}
	for _, request := range hostile.Requests() {
		t.Run(request.Name, func(t *testing.T) {
			t.Parallel()
			want := slices.Clone(refusals[request.Status])
			switch {
			case request.Status == 405 && strings.Contains(request.Raw, "/livez "):
				want = []string{withAllow("GET, HEAD")}
			case request.Status == 405:
				want = []string{withAllow("POST")}
			case want == nil:
				want = slices.Clone(answers[request.Status])
			}
			raw := request.Raw
			if request.Kept {
				raw += liveAndClose
			}
			got := wire.Anonymous(wire.Exchange(t, server.Addr(), raw))
			assert.NotContains(t, got, hostile.Canary)
			got = strings.TrimPrefix(got, "HTTP/1.1 100 Continue\n\n")
			if request.Kept {
				var next bool
				got, next = strings.CutSuffix(got, lastLive)
				assert.True(t, next, "the connection serves the next request")
			}
			got = strings.Replace(got, "Connection: close\n", "", 1)
			for i := range want {
				want[i] = strings.Replace(want[i], "Connection: close\n", "", 1)
				if request.Head() {
					want[i] = headOf(want[i])
				}
			}
			if !slices.Contains(want, got) {
				assert.Equal(t, want[0], got)
			}
		})
	}
}

func withAllow(methods string) string {
	return strings.Replace(
		refusal("405 Method Not Allowed", "method_not_allowed", "This path takes only "+methods+"."),
		"Connection:", "Allow: "+methods+"\nConnection:", 1)
}

var headOf = wire.HeadOf

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
		"bad HEAD, good":    {"HEAD /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + getLive, headOf(refusals[400][0])},
		"good, bad HEAD":    {getLive + "HEAD /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", live + headOf(refusals[400][0])},
		"bad and a HEAD":    {bad + "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", refusals[400][0]},
		"good and bad":      {getLive + bad + getLive, live + refusals[400][0]},
		"bad and good":      {bad + getLive, refusals[400][0]},
		"good and both":     {getLive + twice + getLive, live + refusal("400 Bad Request", "bad_request", faults[fastconn.ErrFramedTwice].Message)},
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
