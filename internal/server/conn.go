package server

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A connection closed with unread bytes in its receive buffer is reset, and
// the reset can overtake the reply (RFC 9112 §9.6). So a refused request is
// read on for a while after the reply was sent, within these bounds.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
)

// conn is a connection that can close in two steps.
type conn struct {
	net.Conn
	once   sync.Once
	closed error
	linger atomic.Bool // set before Close
}

// linger makes c wait, when it is closed, for its peer to finish sending.
func linger(c net.Conn) {
	if c, ok := c.(interface{ lingerOnClose() }); ok {
		c.lingerOnClose()
	}
}

func (c *conn) lingerOnClose() { c.linger.Store(true) }

// Close ends the connection once.
func (c *conn) Close() error {
	c.once.Do(func() {
		if c.linger.Load() {
			c.drain()
		}
		c.closed = c.Conn.Close()
	})
	return c.closed
}

// drain sends the end of the reply, then drops what still comes in.
func (c *conn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}
