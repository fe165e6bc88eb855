package server

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

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
					assert.Equal(t, refusals[413][0], wire.Anonymous(wire.Rest(t, c)))
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
		"a byte more":                   {post + "4097\r\n\r\n" + strings.Repeat(" ", 4097), refusals[413][0]},
		"as much in chunks":             {chunked + strings.Repeat("1\r\n \r\n", 64) + "0\r\n\r\n", "HTTP/1.1 401 Unauthorized\n"},
		"a chunk more":                  {chunked + strings.Repeat("1\r\n \r\n", 65) + "0\r\n\r\n", refusals[413][0]},
		"a HEAD with such a body":       {"HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n", headOf(refusals[413][0])},
		"headers as large as may be":    {get(16000), lastLive},
		"headers that are a bit larger": {get(16384), refusals[431][0]},
	} {
		got := wire.Anonymous(wire.Exchange(t, server.Addr(), c.raw))
		if strings.HasSuffix(c.want, "Unauthorized\n") {
			got = got[:min(len(got), len(c.want))]
		}
		assert.Equal(t, c.want, got, name)
	}
}
