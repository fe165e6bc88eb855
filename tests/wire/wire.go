// Package wire exchanges HTTP in raw bytes with a server under test, so that a
// test sees what a peer sees: every header line, every further answer, and
// whether the connection was closed in order or reset.
package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// waitLimit bounds each connection of a test; no passing test waits for it.
const waitLimit = 20 * time.Second

// Dial connects to addr and closes the connection when the test ends.
func Dial(t testing.TB, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatalf("set a deadline: %v", err)
	}
	return c
}

// Send writes raw; a server that has already refused may not read it all.
func Send(t testing.TB, c net.Conn, raw string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("send: %v", err)
	}
}

// Rest reads until the server closes the connection, which must be in order.
func Rest(t testing.TB, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read until the connection closes: %v, after %q", err, b)
	}
	return string(b)
}

// Exchange sends raw on a connection of its own and returns all that comes
// back until the server closes it.
func Exchange(t testing.TB, addr net.Addr, raw string) string {
	t.Helper()
	c := Dial(t, addr)
	Send(t, c, raw)
	return Rest(t, c)
}

// Next reads one answer to a request of the given method and returns it whole,
// with its headers sorted, as Anonymous leaves it.
func Next(t testing.TB, r *bufio.Reader, method string) string {
	t.Helper()
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read an answer: %v", err)
	}
	dump, err := httputil.DumpResponse(response, true)
	if err != nil {
		t.Fatalf("read the body of an answer: %v", err)
	}
	return Anonymous(string(dump))
}

// Answer spells a whole answer in JSON as Anonymous leaves it; headers are further
// lines.
func Answer(status, headers, body string) string {
	length := len(strings.ReplaceAll(body, "<id>", strings.Repeat("0", 32)))
	return fmt.Sprintf("HTTP/1.1 %s\nContent-Type: application/json\nContent-Length: %d\nX-Request-Id: <id>\nCache-Control: no-store\n%s\n%s",
		status, length, headers, body)
}

// Refusal is an Answer with an error in its envelope.
func Refusal(status, headers, kind, message string) string {
	return Answer(status, headers, `{"error":{"type":"`+kind+`","message":"`+message+`","request_id":"<id>"}}`)
}

// HeadOf is an answer without its body, as a HEAD gets it.
func HeadOf(answer string) string {
	head, _, _ := strings.Cut(answer, "\n\n")
	return head + "\n\n"
}

var (
	dateLine  = regexp.MustCompile(`(?m)^Date: .*\n`)
	madeID    = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	lineBreak = strings.NewReplacer("\r\n", "\n")
)

// Anonymous drops what differs between two equal answers: the date and a
// request id that the server made. Lines end in a line feed.
func Anonymous(answer string) string {
	return madeID.ReplaceAllString(dateLine.ReplaceAllString(lineBreak.Replace(answer), ""), "<id>")
}
