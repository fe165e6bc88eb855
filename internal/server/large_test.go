package server

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// A client that sends 5 MB before it reads anything can send them all and
// reads the 413 then: no reset overtakes it.
func TestLargeBodies(t *testing.T) {
	const size = 5 << 20
	body := strings.Repeat(" ", size)
	chunks := strings.Repeat("8000\r\n"+strings.Repeat(" ", 0x8000)+"\r\n", size/0x8000) + "0\r\n\r\n"
	listeners := map[string]ListenConfig{
		"tcp":  {Addr: "127.0.0.1:0"},
		"unix": {Addr: "unix:" + filepath.Join(t.TempDir(), "s"), SocketMode: 0o600},
	}
	for name, raw := range map[string]string{
		"fixed length":          "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n" + body,
		"many chunks":           "POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
		"one chunk":             "POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n" + body + "\r\n0\r\n\r\n",
		"without authorization": "POST /api/v1/vm/start HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n" + body,
		"of an unknown path":    "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n" + body,
	} {
		for network, config := range listeners {
			t.Run(name+" over "+network, func(t *testing.T) {
				listener, err := Listen(config)
				require.NoError(t, err)
				server := startOn(t, listener, nil, nil)
				for range 3 {
					c := wire.Dial(t, server.Addr())
					_, err := io.WriteString(c, raw)
					require.NoError(t, err, "the server stopped reading")
					require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
					assert.Equal(t, refusals[413][0], wire.Anonymous(wire.Rest(t, c)))
				}
			})
		}
	}
}

// A HEAD is answered without a body, whatever is wrong with it.
func TestLargeBodyOfHead(t *testing.T) {
	server := start(t, nil, nil)
	got := wire.Exchange(t, server.Addr(), "HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
	head, _, _ := strings.Cut(refusals[413][0], "\n\n")
	assert.Equal(t, head+"\n\n", wire.Anonymous(got))
}

// Up to the bound a body is read and judged by the route: 64 KB of white space
// are not too much, and a byte more is.
func TestBodyBound(t *testing.T) {
	server := start(t, nil, nil)
	post := "POST /api/v1/vm/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	assert.Contains(t, wire.Exchange(t, server.Addr(), post+"65536\r\n\r\n"+strings.Repeat(" ", 65536)), "HTTP/1.1 401 ")
	assert.Contains(t, wire.Exchange(t, server.Addr(), post+"65537\r\n\r\n"+strings.Repeat(" ", 65537)), "HTTP/1.1 413 ")
}

// The header section may be as large as nginx passes on, and not much larger.
func TestHeaderBound(t *testing.T) {
	server := start(t, nil, nil)
	get := func(size int) string {
		return "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: " + strings.Repeat("x", size) + "\r\n\r\n"
	}
	assert.Contains(t, wire.Exchange(t, server.Addr(), get(16000)), "HTTP/1.1 200 ")
	assert.Equal(t, refusals[431][0], wire.Anonymous(wire.Exchange(t, server.Addr(), get(16384))))
}

// Connections beyond the bound are refused in the envelope, those within
// it go on, and there is room again when one of them ends.
func TestTooManyConnections(t *testing.T) {
	hold := newHeld()
	server := start(t, func(c *Config) { c.MaxConnections = 2 }, hold.mount)
	var within []net.Conn
	for range 2 {
		c := wire.Dial(t, server.Addr())
		wire.Send(t, c, holdAndClose)
		<-hold.entered
		within = append(within, c)
	}
	overloaded := strings.Replace(refusal("503 Service Unavailable", "backend_unavailable", "This server has too many connections."),
		"Connection:", "Retry-After: 1\nConnection:", 1)
	for range 5 {
		assert.Equal(t, overloaded, wire.Anonymous(wire.Exchange(t, server.Addr(), getLive)))
	}
	close(hold.release)
	for _, c := range within {
		assert.Equal(t, wasHeld, wire.Anonymous(wire.Rest(t, c)))
	}
	require.Eventually(t, func() bool {
		got := wire.Exchange(t, server.Addr(), strings.Replace(getLive, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		return strings.HasPrefix(got, "HTTP/1.1 200 ")
	}, soon, readTimeout/10)
}
