package server

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// refusals are the whole answers to a request that cannot be taken, by status. The table
// of such requests is run by TestHostileRequests of tests/e2e.
var refusals = map[int]string{
	400: refusal("400 Bad Request", "bad_request", errNotHTTP.Message),
	408: refusal("408 Request Timeout", "request_timeout", "The request did not arrive in time."),
	413: refusal("413 Request Entity Too Large", "request_body_too_large", "The request body is too large."),
	431: refusal("431 Request Header Fields Too Large", "request_header_fields_too_large",
		"The request line and headers are too large or too many."),
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
		"bad HEAD, good":    {"HEAD /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + getLive, headOf(refusals[400])},
		"good, bad HEAD":    {getLive + "HEAD /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", live + headOf(refusals[400])},
		"bad and a HEAD":    {bad + "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", refusals[400]},
		"good and bad":      {getLive + bad + getLive, live + refusals[400]},
		"bad and good":      {bad + getLive, refusals[400]},
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

// A client that sends 5 MB before it reads anything can send them all and
// reads the 413 then: no reset overtakes it.
func TestLargeBodies(t *testing.T) {
	const size = 5 << 20
	body := strings.Repeat(" ", size)
	chunks := strings.Repeat("8000\r\n"+strings.Repeat(" ", 0x8000)+"\r\n", size/0x8000) + "0\r\n\r\n"
	for network, listen := range map[string]func(*running){
		"tcp": nil,
		"unix": func(r *running) {
			var err error
			r.Listener, err = Listen(address.UnixPrefix+socketPath(t), config.Socket{Mode: 0o600})
			require.NoError(t, err)
		},
	} {
		server := start(t, listen, nil)
		for name, raw := range map[string]string{
			"fixed length":          "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n" + body,
			"many chunks":           "POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
			"one chunk":             "POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n" + body + "\r\n0\r\n\r\n",
			"without authorization": "POST /api/v1/vm/start HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n" + body,
			"of an unknown path":    "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n" + body,
		} {
			t.Run(name+" over "+network, func(t *testing.T) {
				for range 3 {
					c := wire.Dial(t, server.Addr())
					_, err := io.WriteString(c, raw)
					require.NoError(t, err, "the server stopped reading")
					require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
					assert.Equal(t, refusals[413], wire.Anonymous(wire.Rest(t, c)))
				}
			})
		}
	}
}

// Up to the bounds a request is read and judged by its route: 4 KiB of white
// space as the body, 64 bytes of it in chunks, and headers as large as nginx passes on. A HEAD is answered
// without a body, whatever is wrong with it.
func TestBounds(t *testing.T) {
	server := start(t, nil, nil)
	post := "POST /api/v1/vm/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	chunked := "POST /api/v1/vm/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
	get := func(size int) string {
		return "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: " + strings.Repeat("x", size) + "\r\n\r\n"
	}
	for name, c := range map[string]struct{ raw, want string }{
		"a body as large as may be":     {post + "4096\r\n\r\n" + strings.Repeat(" ", 4096), "HTTP/1.1 401 Unauthorized\n"},
		"a byte more":                   {post + "4097\r\n\r\n" + strings.Repeat(" ", 4097), refusals[413]},
		"as much in chunks":             {chunked + strings.Repeat("1\r\n \r\n", 64) + "0\r\n\r\n", "HTTP/1.1 401 Unauthorized\n"},
		"a chunk more":                  {chunked + strings.Repeat("1\r\n \r\n", 65) + "0\r\n\r\n", refusals[413]},
		"a HEAD with such a body":       {"HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n", headOf(refusals[413])},
		"headers as large as may be":    {get(16000), lastLive},
		"headers that are a bit larger": {get(16384), refusals[431]},
	} {
		got := wire.Anonymous(wire.Exchange(t, server.Addr(), c.raw))
		if strings.HasSuffix(c.want, "Unauthorized\n") {
			got = got[:min(len(got), len(c.want))]
		}
		assert.Equal(t, c.want, got, name)
	}
}
