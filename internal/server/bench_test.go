package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
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

// refusedRequests are what a caller without a token may send to cost as much as
// it can, each as large as it may be.
func refusedRequests() map[string]string {
	claims := hostile.GoodClaims(time.Now()).String()
	get := func(target, headers string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: bench\r\n" + headers + "\r\n"
	}
	post := func(headers, body string) string {
		return "POST " + routes.StartPath + " HTTP/1.1\r\nHost: bench\r\n" + headers + "\r\n" + body
	}
	bearer := func(token string) string { return get(routes.StatusPath, "Authorization: Bearer "+token+"\r\n") }
	forged := func(header, claims string) string {
		return bearer(hostile.Sign("another secret of thirty-two bytes", header, claims))
	}
	chunks := func(n int) string {
		return post("Transfer-Encoding: chunked\r\n", strings.Repeat("1\r\n \r\n", n)+"0\r\n\r\n")
	}
	nested := strings.Repeat(`{"a":`, 1800) + "1" + strings.Repeat("}", 1800)
	return map[string]string{
		"not found":                get("/nowhere", ""),
		"method":                   "PUT /livez HTTP/1.1\r\nHost: bench\r\n\r\n",
		"escaped target":           get("/"+strings.Repeat("%41", 5000), ""),
		"target of dots":           get("/"+strings.Repeat("/../a", 3000), ""),
		"query":                    get(routes.StatusPath+"?"+strings.Repeat("a&", 7500), ""),
		"no token":                 get(routes.StatusPath, ""),
		"a header of 15 KB":        get(routes.StatusPath, "X: "+strings.Repeat("x", 15000)+"\r\n"),
		"cookies":                  get(routes.StatusPath, "Cookie: "+strings.Repeat("a=b;", 3700)+"\r\n"),
		"100 headers":              get(routes.StatusPath, strings.Repeat("a-b: c\r\n", 100)),
		"3,000 headers":            get(routes.StatusPath, strings.Repeat("a:\r\n", 3000)),
		"60 headers of 200":        get(routes.StatusPath, strings.Repeat("a: "+strings.Repeat("b", 195)+"\r\n", 60)),
		"long names":               get(routes.StatusPath, strings.Repeat(strings.Repeat("b", 110)+":\r\n", 32)),
		"a name of 15 KB":          get(routes.StatusPath, strings.Repeat("x", 15000)+": x\r\n"),
		"800 tokens":               get(routes.StatusPath, strings.Repeat("Authorization: a\r\n", 800)),
		"60 tokens":                get(routes.StatusPath, strings.Repeat("Authorization: Bearer "+strings.Repeat("a", 100)+"\r\n", 60)),
		"800 cookies":              get(routes.StatusPath, strings.Repeat("Cookie: a=b\r\n", 800)),
		"tabs":                     get(routes.StatusPath, "X: "+strings.Repeat("\t", 15000)+"x\r\n"),
		"tabs at the end":          get(routes.StatusPath, "X: x"+strings.Repeat("\t", 15000)+"\r\n"),
		"tabs for a token":         get(routes.StatusPath, "Authorization: Bearer "+strings.Repeat("\t", 15000)+"x\r\n"),
		"some tabs":                get(routes.StatusPath, "X: "+strings.Repeat("\t", 3900)+"x\r\n"),
		"lines of tabs":            get(routes.StatusPath, strings.Repeat("X: "+strings.Repeat("\t", 160)+"x\r\n", 90)),
		"spaces":                   get(routes.StatusPath, "X: x"+strings.Repeat(" ", 15000)+"\r\n"),
		"trailers":                 post("Transfer-Encoding: chunked\r\n", "0\r\n"+strings.Repeat("a:\r\n", 3000)+"\r\n"),
		"60 trailers":              post("Transfer-Encoding: chunked\r\n", "0\r\n"+strings.Repeat("a:\r\n", 60)+"\r\n"),
		"bad request id":           get(routes.StatusPath, "X-Request-Id: "+strings.Repeat("a", 15000)+"\r\n"),
		"spaces for a token":       bearer(strings.Repeat(" ", 15000) + "x"),
		"many parts":               bearer(strings.Repeat("a.", 7500)),
		"RS256 without keys, deep": forged(`{"alg":"RS256"}`, nested),
		"deep header":              forged(`{"alg":"HS256","a":`+strings.Repeat(`{"a":`, 25)+"1"+strings.Repeat("}", 25)+`,"b":"`+strings.Repeat("z", 1200)+`"}`, claims),
		"escaped header":           forged(`{"alg":"HS256","kid":"`+strings.Repeat(`\u0041`, 240)+`"}`, claims),
		"bad signature":            forged(hostile.DefaultHeader, claims),
		"bad signature, 8 KB":      forged(hostile.DefaultHeader, strings.Repeat("x", 6060)),
		"bad signature, 15 KB":     forged(hostile.DefaultHeader, strings.Repeat("x", 11000)),
		"body":                     post("Content-Length: 4096\r\n", strings.Repeat(" ", 4096)),
		"body, too large":          post("Content-Length: 65536\r\n", strings.Repeat(" ", 65536)),
		"chunks":                   chunks(64),
		"chunks, too many":         chunks(10000),
		"form":                     post("Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 60\r\n", strings.Repeat(" ", 60)),
	}
}

// processorTime is what n of a request cost this thread, over connections of its
// own where a refusal ends one. What the whole process used is known to a clock
// tick only, which is as long as hundreds of requests.
func processorTime(server *running, request string, n int) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var spent unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &spent)
		return time.Duration(spent.Nano())
	}
	conn := &memoryConn{requests: [][]byte{[]byte(request)}, left: n, status: "4"}
	before := used()
	for l := fastconn.NewListener(always{conn}, fastconn.Config{ReadTimeout: time.Hour, WriteTimeout: time.Hour, HeaderBytes: 16 << 10}); conn.left > 0; {
		conn.unread = nil
		if c, err := l.Accept(); err == nil {
			_ = server.app.Server().ServeConn(c)
		}
	}
	return used() - before
}

// always is a listener that accepts one connection again and again.
type always struct{ net.Conn }

func (a always) Accept() (net.Conn, error) { return a.Conn, nil }
func (a always) Addr() net.Addr            { return a.LocalAddr() }

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
	status   string // that every reply must have, or its first digits
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
	if got := p[len("HTTP/1.1 "):]; !bytes.HasPrefix(got, []byte(c.status)) {
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
