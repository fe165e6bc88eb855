//go:build !race

package server

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// fasthttpByte is what fasthttp allocates to wait for a request: one byte.
const fasthttpByte = 1

// A status read with a remembered token allocates nothing else anywhere in the
// server, from the first byte read to the last one written. The race detector
// allocates by itself, so it is left out.
func TestWarmStatusAllocatesNothing(t *testing.T) {
	server := benchServer(t, 1024)
	token := hostile.Sign(benchSecret, hostile.DefaultHeader, hostile.GoodClaims(time.Now()).String())
	conn := &steppedConn{
		memoryConn: memoryConn{requests: [][]byte{statusRequest(token)}, left: 1 << 30, status: "200"},
		ask:        make(chan struct{}), answered: make(chan struct{}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.app.Server().ServeConn(conn) }()

	read := func() {
		conn.ask <- struct{}{}
		<-conn.answered
	}
	for range 10 {
		read() // fills the cache and the pools
	}
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, read), float64(fasthttpByte))
	close(conn.ask)
	require.NoError(t, <-ended)
	assert.Zero(t, conn.wrong, "replies that are no 200")
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
