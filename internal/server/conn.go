package server

import (
	"errors"
	"io"
	"net"
	"os"
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

// conn is a connection that can close in two steps, and whose deadlines cost
// next to nothing while it is busy. One goroutine at a time reads, writes and
// sets deadlines; Close is for anybody.
type conn struct {
	net.Conn
	reading, writing deadline

	once   sync.Once
	closed error
	linger atomic.Bool // set before Close
}

// deadline is one that moves with every request, as those of a connection do.
// Its timer is left where it is while it would go off too early, and set anew
// only when it really did: once in a time-out instead of at every request.
type deadline struct {
	wanted time.Time // zero for none
	armed  time.Time // when the timer goes off; not after wanted; zero for never
}

// move says that t is wanted, and whether the timer has to be set to it now.
func (d *deadline) move(t time.Time) bool {
	d.wanted = t
	if d.armed.IsZero() {
		return !t.IsZero()
	}
	return !t.IsZero() && t.Before(d.armed)
}

// early reports that the timer, which went off, was not set to what is wanted.
func (d *deadline) early(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !d.armed.Equal(d.wanted)
}

// SetReadDeadline bounds the reads from now on.
func (c *conn) SetReadDeadline(t time.Time) error {
	if !c.reading.move(t) {
		return nil
	}
	return c.armRead()
}

func (c *conn) armRead() error {
	c.reading.armed = c.reading.wanted
	return c.Conn.SetReadDeadline(c.reading.armed)
}

// SetWriteDeadline bounds the writes from now on.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if !c.writing.move(t) {
		return nil
	}
	return c.armWrite()
}

func (c *conn) armWrite() error {
	c.writing.armed = c.writing.wanted
	return c.Conn.SetWriteDeadline(c.writing.armed)
}

// SetDeadline bounds both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for n == 0 && err != nil && c.reading.early(err) {
		if err := c.armRead(); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(p)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	for err != nil && c.writing.early(err) {
		if err := c.armWrite(); err != nil {
			return n, err
		}
		var more int
		more, err = c.Conn.Write(p[n:])
		n += more
	}
	return n, err
}

// linger makes c wait, when it is closed, for its peer to finish sending.
func linger(c net.Conn) {
	if c, ok := c.(*conn); ok {
		c.linger.Store(true)
	}
}

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
