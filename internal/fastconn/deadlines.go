package fastconn

import (
	"errors"
	"os"
	"time"
)

// An ordinary request arrives in one piece and its reply leaves in one, so the
// clock is read only when either does not. That leaves the wait between
// requests: a timer that would only fire too early is left and set again when
// it fires, once in a time-out instead of once for each request.

// RequestDone ends a request: from now on its reply may be sent, and the
// connection be idle. An error of the socket comes up again when it is read or
// written.
func (c *Conn) RequestDone(now time.Time) {
	c.begun, c.reading = false, false
	_ = c.wait(now.Add(c.config.IdleTimeout))
	c.StartReply()
}

// StartReply clears the deadline of an earlier reply.
func (c *Conn) StartReply() {
	if c.sending {
		c.sending = false
		_ = c.Conn.SetWriteDeadline(time.Time{})
	}
}

// replied starts the idle time again if the reply before it was slow.
func (c *Conn) replied() {
	if c.sending {
		c.StartReply()
		_ = c.wait(time.Now().Add(c.config.IdleTimeout))
	}
}

// needMore sets the deadline of a request that did not arrive in one piece.
func (c *Conn) needMore() error {
	if c.reading {
		return nil
	}
	c.reading = true
	return c.wait(time.Now().Add(c.config.ReadTimeout))
}

// noRoom sets the deadline of a reply that did not leave in one piece.
func (c *Conn) noRoom() error {
	if c.sending {
		return nil
	}
	c.sending = true
	return c.Conn.SetWriteDeadline(time.Now().Add(c.config.WriteTimeout))
}

func (c *Conn) wait(until time.Time) error {
	c.readUntil = until
	if !c.armed.IsZero() && !until.Before(c.armed) {
		return nil
	}
	return c.arm()
}

func (c *Conn) arm() error {
	c.armed = c.readUntil
	return c.Conn.SetReadDeadline(c.armed)
}

// early reports that the timer fired before the deadline.
func (c *Conn) early(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !c.armed.Equal(c.readUntil)
}
