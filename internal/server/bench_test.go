package server

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// The whole of a status read but the kernel: parsing, the chain, the reply.
func BenchmarkStatus(b *testing.B) {
	claims := hostile.GoodClaims(time.Now())
	good := hostile.Sign(secret, hostile.DefaultHeader, claims.String())
	forged := hostile.Sign("another secret of thirty-two bytes", hostile.DefaultHeader, claims.String())
	late := hostile.Sign(secret, hostile.DefaultHeader, claims.Set("exp", "1700000000").String())
	unscoped := hostile.Sign(secret, hostile.DefaultHeader, claims.Set("scope", `"vm:write"`).String())
	for _, c := range []struct {
		name   string
		status int
		token  func(i int) string
	}{
		{"warm", 200, func(int) string { return good }},
		{"new token", 200, func(i int) string {
			subject := strconv.Quote(fmt.Sprintf("00000000-0000-4000-8000-%012x", i))
			return hostile.Sign(secret, hostile.DefaultHeader, claims.Set("sub", subject).String())
		}},
		{"no token", 401, func(int) string { return "" }},
		{"bad signature", 401, func(int) string { return forged }},
		{"expired", 401, func(int) string { return late }},
		{"scope missing", 403, func(int) string { return unscoped }},
	} {
		b.Run(c.name, func(b *testing.B) {
			// Tokens are made before the clock starts, and more than the
			// cache holds, so that one is new again when its turn comes.
			requests := make([][]byte, min(b.N, 4096))
			for i := range requests {
				requests[i] = []byte(statusRequest(c.token(i)))
			}
			conn := &memoryConn{requests: requests, left: b.N, status: strconv.Itoa(c.status)}
			server := prepare(b, nil, nil)
			server.app.Handler() // builds the routes, as listening does
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, server.app.Server().ServeConn(conn))
			require.Zero(b, conn.wrong, "replies with another status")
		})
	}
}

func statusRequest(token string) string {
	authorization := ""
	if token != "" {
		authorization = "Authorization: Bearer " + token + "\r\n"
	}
	return "GET " + routes.StatusPath + " HTTP/1.1\r\nHost: bench\r\n" + authorization + "\r\n"
}

// memoryConn is a keep-alive connection whose peer sends the next request as
// soon as it has a reply.
type memoryConn struct {
	requests [][]byte
	left     int
	next     int
	unread   []byte // of the request under way
	status   string // that every reply must have
	wrong    int
}

func (c *memoryConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		c.left--
		c.unread = c.requests[c.next]
		if c.next++; c.next == len(c.requests) {
			c.next = 0
		}
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (c *memoryConn) Write(p []byte) (int, error) {
	const digits = len("HTTP/1.1 ")
	if string(p[digits:digits+3]) != c.status {
		c.wrong++
	}
	return len(p), nil
}

func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *memoryConn) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }
