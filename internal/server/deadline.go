package server

import (
	"errors"
	"os"
	"time"
)

// deadline is one that moves with every request, as those of a connection do.
// Its timer is left where it is while it would only go off too early, and set
// anew when it did: once in a time-out instead of at every request.
type deadline struct {
	wanted time.Time // zero for none
	armed  time.Time // when the timer goes off: not after wanted; zero for never
}

// move says that t is wanted, and reports whether the timer has to be set now.
func (d *deadline) move(t time.Time) bool {
	d.wanted = t
	return !t.IsZero() && (d.armed.IsZero() || t.Before(d.armed))
}

// early reports that the timer went off, and was not set to what is wanted.
func (d *deadline) early(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !d.armed.Equal(d.wanted)
}

// SetReadDeadline bounds the reads from now on.
func (c *servedConn) SetReadDeadline(t time.Time) error {
	if !c.reading.move(t) {
		return nil
	}
	return c.armRead()
}

func (c *servedConn) armRead() error {
	c.reading.armed = c.reading.wanted
	return c.Conn.SetReadDeadline(c.reading.armed)
}

// SetWriteDeadline bounds the writes from now on.
func (c *servedConn) SetWriteDeadline(t time.Time) error {
	if !c.writing.move(t) {
		return nil
	}
	return c.armWrite()
}

func (c *servedConn) armWrite() error {
	c.writing.armed = c.writing.wanted
	return c.Conn.SetWriteDeadline(c.writing.armed)
}

// SetDeadline bounds both.
func (c *servedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
