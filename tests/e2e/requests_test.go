package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// closing is a reply after which the gateway ends the connection.
func closing(reply string) string {
	return strings.Replace(reply, "\nContent-Type:", "\nConnection: close\nContent-Type:", 1)
}

var (
	notHTTP     = closing(refusal("400 Bad Request", "bad_request", "The request is not valid HTTP/1.1.", ""))
	framedTwice = closing(refusal("400 Bad Request", "bad_request", "Send Content-Length or Transfer-Encoding, not both.", ""))
	notChunked  = closing(refusal("400 Bad Request", "bad_request", "The only Transfer-Encoding taken here is chunked.", ""))
	twoReadings = closing(refusal("400 Bad Request", "bad_request", "The request headers are not valid HTTP/1.1.", ""))
	tooLong     = closing(refusal("431 Request Header Fields Too Large", "request_header_fields_too_large", "The request line and headers are too large.", ""))
	tooLarge    = closing(refusal("413 Request Entity Too Large", "request_body_too_large", "The request body is too large.", ""))
	tooSlow     = closing(refusal("408 Request Timeout", "request_timeout", "The request did not arrive in time.", ""))
)

// refusedRequests are raw requests by the only reply they may get. Those with a
// body carry a good token: what is wrong is the HTTP.
func refusedRequests(token string) map[string][]string {
	get := func(tail string) string { return "GET /readyz HTTP/1.1\r\nHost: vm.test\r\n" + tail + "\r\n" }
	stop := func(tail string) string {
		return "POST " + stopPath + " HTTP/1.1\r\nHost: vm.test\r\nAuthorization: Bearer " + token + "\r\n" + tail
	}
	line := func(line string) string { return line + "\r\nHost: vm.test\r\n\r\n" }
	return map[string][]string{
		notHTTP: {
			stop("Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
			stop("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
			stop("Content-Length: 2, 2\r\n\r\n{}"),
			stop("Content-Length: -2\r\n\r\n"),
			stop("Content-Length: +2\r\n\r\n{}"),
			stop("Content-Length: 0x2\r\n\r\n{}"),
			stop("Content-Length: 2.0\r\n\r\n{}"),
			stop("Content-Length: 2 2\r\n\r\n{}"),
			stop("Content-Length:\r\n\r\n"),
			stop("Content-Length : 2\r\n\r\n{}"),
			stop("Content-Length: 99999999999999999999\r\n\r\n"),
			stop("Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
			strings.Replace(stop("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "1.1", "1.0", 1),
			stop("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),

			get("Private : header\r\n"),
			get("Private\r\n"),
			get(": private\r\n"),
			get("Private: a\rb\r\n"),
			get("Private: a\x00b\r\n"),
			get("Priv\x01ate: a\r\n"),
			get("Priv(ate): a\r\n"),
			get("Host: vm.test\r\n"),
			get("Host: another\r\n"),
			"GET /readyz HTTP/1.1\r\n Host: vm.test\r\n\r\n",
			"GET /readyz HTTP/1.1\r\n\r\n",
			"GET /readyz HTTP/1.1\r\nHost:\r\n\r\n",
			"GET /readyz HTTP/1.1\r\nHost: private path\r\n\r\n",
			"GET /readyz HTTP/1.1\r\nHost: private/path\r\n\r\n",

			line("GET /readyz"),
			line("GET /readyz http/1.1"),
			line("GET /readyz HTTP/1.10"),
			line("GET /readyz HTTP/1"),
			line("GET /readyz HTTPS/1.1"),
			line("GET  /readyz HTTP/1.1"),
			line("GET\t/readyz\tHTTP/1.1"),
			line("GET /rea dyz HTTP/1.1"),
			line("GET readyz HTTP/1.1"),
			line("GET /readyz\x01 HTTP/1.1"),
			line("GET /readyz\x00 HTTP/1.1"),
			line("G{T /readyz HTTP/1.1"),
			line(" /readyz HTTP/1.1"),
			line("GET"),
			line("private garbage"),
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", // a TLS client
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",                     // HTTP/2
			"* OK IMAP4rev1\r\n\r\n",
		},
		framedTwice: {
			stop("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
			stop("content-length: 0\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
		},
		notChunked: {
			stop("Transfer-Encoding: identity\r\n\r\n"),
			stop("Content-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n"),
		},
		twoReadings: {
			get("Private: a\nOther: b\r\n"),
			get("Private: a\nContent-Length: 2\r\n") + "{}",
			get("Private: a\r\n b\r\n"),
			get("Private: a\r\n\tb\r\n"),
			get("Pri vate: a\r\n"),
			stop("Private: a\r\n Content-Length: 2\r\n\r\n"),
			stop("Content-Length: 2\nPrivate: a\r\n\r\n{}"),
		},
		tooLong: {
			get("Private: " + strings.Repeat("x", 20<<10) + "\r\n"),
			get(strings.Repeat("Private: x\r\n", 2000)),
			get("Authorization: Bearer " + strings.Repeat("x", 20<<10) + "\r\n"),
			line("GET /readyz?" + strings.Repeat("x", 20<<10) + " HTTP/1.1"),
			"GET /readyz HTTP/1.1\r\nPrivate: " + strings.Repeat("x", 20<<10), // not even ended
		},
		tooLarge: {
			stop("Content-Length: 5000000\r\n\r\n"),
			stop("Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n"),
		},
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	token := mint("vm:read vm:write")
	count := 0
	for want, requests := range refusedRequests(token) {
		for _, raw := range requests {
			about := fmt.Sprintf("%.200q", raw)
			c := dial(t, g.addr).send(raw)
			c.expect(t, "GET", want, about)
			c.closes(t, about)
			_ = c.Close()
			count++
		}
	}
	require.GreaterOrEqual(t, count, 40)
	require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, token)), "none of them stopped the runtime")
}

// A client that sends all of its 5 MB before it reads still gets the answer.
func TestRefusalIsReadableBehindALargeBody(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	const size = 5 << 20
	body := strings.Repeat("x", size)
	for _, raw := range []string{
		withBody("POST "+startPath, mint("vm:write"), body),
		withBody("POST "+startPath, "", body),
		request("POST "+startPath, "", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body),
	} {
		c := dial(t, g.addr)
		_, err := io.WriteString(c, raw)
		require.NoError(t, err)
		c.expect(t, "POST", tooLarge)
		c.closes(t)
	}
}

// A client that asks before it sends a body hears twice.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	for body, want := range map[string]string{"{}": okStart, "x": noBody, strings.Repeat("x", 1<<20): tooLarge} {
		c := dial(t, g.addr)
		c.send(request("POST "+startPath, mint("vm:write"), contentLength(body), "Expect: 100-continue"))
		c.expect(t, "POST", "100 Continue\n\n\n")
		c.send(body).expect(t, "POST", want)
	}
}

// Broken clients are told so once the time for a request is over, however
// busily they send.
func TestSlowAndSilentClients(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	g := serve(t, []string{"BUS_VM_READ_TIMEOUT=" + limit.String(), "BUS_VM_IDLE_TIMEOUT=" + limit.String()})
	token := mint("vm:write")
	for name, start := range map[string]string{
		"silent":      "",
		"slow line":   "GET /rea",
		"slow header": "GET /readyz HTTP/1.1\r\nHost: vm.test\r\nX: ",
		"slow body":   request("POST "+stopPath, token, "Content-Length: 1000") + "{",
		"slow chunk":  request("POST "+stopPath, token, "Transfer-Encoding: chunked") + "3e8\r\n{",
		"bare LF":     "GET /readyz HTTP/1.1\nHost: vm.test\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, g.addr).send(start)
			began := time.Now()
			answered := make(chan string, 1)
			go func() {
				got, err := c.reply("GET")
				answered <- got + fmt.Sprint(err)
			}()
			tick := time.NewTicker(limit / 10)
			defer tick.Stop()
			for waiting := true; waiting; {
				select {
				case got := <-answered:
					require.Equal(t, tooSlow+"<nil>", got)
					waiting = false
				case <-tick.C:
					if start != "" && name != "bare LF" {
						c.send("x")
					}
				}
			}
			require.GreaterOrEqual(t, time.Since(began), limit*9/10)
			require.Less(t, time.Since(began), patience/2)
		})
	}
	t.Run("idle after a request", func(t *testing.T) {
		t.Parallel()
		c := dial(t, g.addr).send(request("GET /readyz", ""))
		c.expect(t, "GET", okReady)
		c.closes(t)
	})
}

// Pipelined requests are answered in order, and one that is refused as HTTP
// ends the connection before the next.
func TestPipelining(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	token := mint("vm:read vm:write")
	read, stop := request("GET "+statusPath, token), request("POST "+stopPath, token)
	start := withBody("POST "+startPath, token, "{}")

	c := dial(t, g.addr).send(read + stop + read + start + read + request("GET /none", "") + stop)
	for _, want := range []string{okStatus, okStop, okStopped, okStart, okStatus, notFound, okStop} {
		c.expect(t, "GET", want)
	}

	c = dial(t, g.addr).send(start + request("POST "+stopPath, token, "Content-Length: 2", "Content-Length: 2") + "{}" + stop)
	c.expect(t, "POST", okStart)
	c.expect(t, "POST", notHTTP)
	c.closes(t)

	// The second of two lengths must not turn a body into a request.
	c = dial(t, g.addr).send(request("POST "+startPath, token, "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + stop)
	c.expect(t, "POST", framedTwice)
	c.closes(t)
	require.Equal(t, okStatus, ask(t, g.addr, read))
}
