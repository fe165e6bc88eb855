package server

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

const (
	readTimeout = 150 * time.Millisecond
	// soon is far beyond readTimeout, and far below what any other limit of
	// these tests would take.
	soon = 5 * time.Second
	// tolerance is what a clock started before its time may show too little.
	tolerance = 20 * time.Millisecond
)

func quick(r *running) { r.config.ReadTimeout, r.config.IdleTimeout = readTimeout, readTimeout }

// A request that stops half-way gets a 408 when the time for it is over,
// wherever it stopped.
func TestRequestsThatStop(t *testing.T) {
	server := start(t, quick, nil)
	post := "POST /livez HTTP/1.1\r\nHost: " + hostile.Canary + "\r\n"
	chunked := post + "Transfer-Encoding: chunked\r\n\r\n"
	for name, sent := range map[string]string{
		"before anything":          "",
		"in the method":            "PO",
		"in the target":            "POST /liv",
		"behind the request line":  "POST /livez HTTP/1.1\r\n",
		"in a header name":         post + "X-" + hostile.Canary,
		"in a header value":        post + "X-A: " + hostile.Canary,
		"before the last line end": post + "X-A: a\r\n",
		"in the last line end":     post + "X-A: a\r\n\r",
		"before a body":            post + "Content-Length: 4\r\n\r\n",
		"in a body":                post + "Content-Length: 4\r\n\r\n{}",
		"before a chunk":           chunked,
		"in a chunk size":          chunked + "2",
		"behind a chunk size":      chunked + "2\r",
		"before a chunk's data":    chunked + "2\r\n",
		"in a chunk":               chunked + "2\r\n{",
		"behind a chunk":           chunked + "2\r\n{}",
		"between chunks":           chunked + "2\r\n{}\r\n",
		"in a chunk extension":     chunked + "2;a=b",
		"in the last chunk":        chunked + "0",
		"behind the last chunk":    chunked + "0\r\n",
		"in a trailer":             chunked + "0\r\nX-A: " + hostile.Canary,
		"behind a trailer":         chunked + "0\r\nX-A: a\r\n",
		"waiting for 100 Continue": post + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			got := wire.Anonymous(wire.Exchange(t, server.Addr(), sent))
			assert.Equal(t, refusals[408], strings.TrimPrefix(got, "HTTP/1.1 100 Continue\n\n"))
			assert.GreaterOrEqual(t, time.Since(began), readTimeout)
			assert.Less(t, time.Since(began), soon)
		})
	}
}

// A connection that its client ends between requests closes without a word.
func TestConnectionsThatEnd(t *testing.T) {
	server := start(t, nil, nil)
	for _, sent := range []string{"", "\r\n", "\r\n\r\n"} {
		c := wire.Dial(t, server.Addr())
		wire.Send(t, c, sent)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		assert.Empty(t, wire.Rest(t, c), "ended by the client after %q", sent)
	}
}

// A connection that was busy for longer than any of its time-outs has all of
// them again when it pauses, for its next request and within it; an idle one
// closes without a word.
func TestBusyConnectionsThatStop(t *testing.T) {
	const limit = 2 * time.Second // a busy machine sends in time all the same
	server := start(t, func(r *running) { r.config.ReadTimeout, r.config.IdleTimeout = limit, limit }, nil)
	for name, c := range map[string]struct{ sent, want string }{
		"between requests": {"", ""},
		"in a request":     {"GET /livez HTTP/1.1\r\n", refusals[408]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, answers := server.dial(t)
			tick := time.NewTicker(limit / 20)
			defer tick.Stop()
			for busy := time.Now(); time.Since(busy) < limit*3/2; <-tick.C {
				wire.Send(t, client, getLive)
				require.Equal(t, nextLive, wire.Next(t, answers, "GET"))
			}
			wire.Send(t, client, getLive)
			wire.Next(t, answers, "GET")
			stopped := time.Now()
			wire.Send(t, client, c.sent)
			assert.Equal(t, c.want, wire.Anonymous(wire.Rest(t, client)))
			assert.GreaterOrEqual(t, time.Since(stopped), limit-tolerance)
		})
	}
}

// A client that ends its request half-way, and still reads, is told.
func TestRequestsThatEndEarly(t *testing.T) {
	server := start(t, nil, nil)
	post := "POST /livez HTTP/1.1\r\nHost: x\r\n"
	for _, sent := range []string{
		"GET", "GET /livez HTTP/1.1\r\nHost: x\r\nX", post + "Content-Length: 4\r\n\r\n{}",
		post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n",
	} {
		c := wire.Dial(t, server.Addr())
		wire.Send(t, c, sent)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		assert.Equal(t, refusals[400], wire.Anonymous(wire.Rest(t, c)), "%q", sent)
	}
}

// The time to send an answer begins with that answer: a connection that was idle
// for longer since its last one is told all the same what was wrong, or to
// continue.
func TestAnswersAfterIdleTime(t *testing.T) {
	const writeTimeout = 300 * time.Millisecond
	server := start(t, func(r *running) { r.writeTimeout = writeTimeout }, nil)
	post := "POST /livez HTTP/1.1\r\nHost: x\r\n"
	for name, c := range map[string]struct{ sent, want string }{
		"bad":       {"GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		"too large": {post + "Content-Length: 9999999\r\n\r\n", "HTTP/1.1 413 Request Entity Too Large\r\n"},
		"long":      {"GET /" + strings.Repeat("x", 20<<10), "HTTP/1.1 431 Request Header Fields Too Large\r\n"},
		"expects":   {post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 100 Continue\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, answers := server.dial(t)
			wire.Send(t, client, getLive)
			wire.Next(t, answers, "GET")
			<-time.After(2 * writeTimeout)
			wire.Send(t, client, c.sent)
			line, err := answers.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, c.want, line)
		})
	}
}

// large is more than the buffers of a connection hold.
var large = bytes.Repeat([]byte("x"), 16<<20)

const getLarge = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"

func mountLarge(router fiber.Router) {
	router.Get("/large", func(c *fiber.Ctx) error {
		c.Context().Response.SetBodyRaw(large)
		return nil
	})
}

// readLarge reads the reply to getLarge.
func readLarge(t *testing.T, answers *bufio.Reader) {
	t.Helper()
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.EqualValues(t, len(large), n)
}

// The time-outs begin behind a slow reply: of idle time, of sending the next
// reply, and for a request that came meanwhile. How long the client rests is the fault.
func TestSlowReplies(t *testing.T) {
	const limit, sending = 300 * time.Millisecond, time.Second // all of a large reply is sent in time on a busy machine
	for name, c := range map[string]struct {
		edit func(*running)
		try  func(t *testing.T, client net.Conn, answers *bufio.Reader)
	}{
		"idle": {func(r *running) { r.config.IdleTimeout = limit }, func(t *testing.T, client net.Conn, answers *bufio.Reader) {
			time.Sleep(limit * 4 / 5)
			began := time.Now() // the server cannot have sent all before
			readLarge(t, answers)
			ended := time.Now()
			assert.Empty(t, wire.Rest(t, client))
			assert.GreaterOrEqual(t, time.Since(began), limit-tolerance)
			assert.Less(t, time.Since(ended), soon)
		}},
		"a request meanwhile": {func(r *running) { r.config.IdleTimeout = limit }, func(t *testing.T, client net.Conn, answers *bufio.Reader) {
			time.Sleep(limit / 3)
			wire.Send(t, client, getLive)
			time.Sleep(2 * limit)
			readLarge(t, answers)
			assert.Equal(t, nextLive, wire.Next(t, answers, "GET"))
		}},
		"100 Continue": {func(r *running) { r.writeTimeout = sending }, func(t *testing.T, client net.Conn, answers *bufio.Reader) {
			wire.Send(t, client, "POST /livez HTTP/1.1\r\nHost: x\r\n")
			time.Sleep(sending / 3)
			readLarge(t, answers)
			time.Sleep(sending)
			wire.Send(t, client, "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
			line, err := answers.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, answers := start(t, c.edit, mountLarge).dial(t)
			wire.Send(t, client, getLarge)
			c.try(t, client, answers)
		})
	}
}
