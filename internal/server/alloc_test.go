//go:build !race

package server

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// fasthttpByte is what fasthttp allocates to wait for a request: one byte.
const fasthttpByte = 1

// A status read with a remembered token allocates nothing else anywhere in the
// server, from the first byte read to the last one written, and neither does a
// refusal that needs no claims. The race detector allocates by itself, so it is
// left out.
func TestReadsAllocateNothing(t *testing.T) {
	claims := hostile.GoodClaims(time.Now())
	good := hostile.Sign(benchSecret, hostile.DefaultHeader, claims.String())
	for name, c := range map[string]struct{ token, status string }{
		"remembered": {good, "200"},
		"no token":   {"", "401"},
		"forged":     {hostile.Sign("another secret of thirty-two bytes", hostile.DefaultHeader, claims.String()), "401"},
		"no scope":   {hostile.Sign(benchSecret, hostile.DefaultHeader, claims.Set("scope", `"vm:write"`).String()), "403"},
	} {
		t.Run(name, func(t *testing.T) {
			server := benchServer(t, 1024)
			conn := &steppedConn{
				memoryConn: memoryConn{requests: [][]byte{statusRequest(good)}, left: 1 << 30, status: "200"},
				ask:        make(chan struct{}), answered: make(chan struct{}),
			}
			ended := make(chan error, 1)
			go func() { ended <- server.app.Server().ServeConn(conn) }()

			read := func() {
				conn.ask <- struct{}{}
				<-conn.answered
			}
			read() // the header of a good token is known from here on
			conn.requests, conn.status = [][]byte{statusRequest(c.token)}, c.status
			for range 10 {
				read() // fills the cache and the pools
			}
			assert.LessOrEqual(t, testing.AllocsPerRun(1000, read), float64(fasthttpByte))
			close(conn.ask)
			require.NoError(t, <-ended)
			assert.Zero(t, conn.wrong, "replies with another status")
		})
	}
}

// Nor does the connection that a read comes in by.
func TestConnectionsAllocateNothing(t *testing.T) {
	server := start(t, nil, nil)
	c := wire.Dial(t, server.Addr())
	request, reply := []byte(getLive), make([]byte, 4<<10)
	ask := func() {
		if _, err := c.Write(request); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(reply); err != nil {
			t.Error(err)
		}
	}
	for range 10 {
		ask()
	}
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, ask), float64(fasthttpByte))
}

// steppedConn hands over a request when it is told to, and says when it was
// answered.
type steppedConn struct {
	memoryConn
	ask, answered chan struct{}
}

func (c *steppedConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		if _, ok := <-c.ask; !ok {
			return 0, io.EOF
		}
	}
	return c.memoryConn.Read(p)
}

func (c *steppedConn) Write(p []byte) (int, error) {
	n, err := c.memoryConn.Write(p)
	c.answered <- struct{}{}
	return n, err
}
