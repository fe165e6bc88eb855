package fastconn

import (
	"errors"
	"net"
	"os"
	"time"
)

// deadlines are those of a connection. An ordinary request arrives in one piece
// and its reply leaves in one, so the clock is read only when either does not.
// That leaves the wait between requests: a timer that would only fire too early
// stays where it is and is set again when it fires, once in a time-out instead
// of once for each request.
type deadlines struct {
	config *Config
	socket net.Conn

	readUntil time.Time // when the wait for bytes ends
	armed     time.Time // when its timer fires
	begun     bool      // the first byte of a request has arrived
	reading   bool      // readUntil is that of the request
	sending   bool      // the deadline of a reply is set
}

// RequestDone ends a request: from now on its reply may be sent, and the
// connection be idle. An error of the socket comes up again when it is read or
// written.
func (d *deadlines) RequestDone(now time.Time) {
	d.begun, d.reading = false, false
	_ = d.wait(now.Add(d.config.IdleTimeout))
	d.StartReply()
}

// StartReply clears the deadline of an earlier reply.
func (d *deadlines) StartReply() {
	if d.sending {
		d.sending = false
		_ = d.socket.SetWriteDeadline(time.Time{})
	}
}

// replied starts the idle time again if the reply before it was slow.
func (d *deadlines) replied() {
	if d.sending {
		d.StartReply()
		_ = d.wait(time.Now().Add(d.config.IdleTimeout))
	}
}

// needMore sets the deadline of a request that did not arrive in one piece.
func (d *deadlines) needMore() error {
	if d.reading {
		return nil
	}
	d.reading = true
	return d.wait(time.Now().Add(d.config.ReadTimeout))
}

// noRoom sets the deadline of a reply that did not leave in one piece.
func (d *deadlines) noRoom() error {
	if d.sending {
		return nil
	}
	d.sending = true
	return d.socket.SetWriteDeadline(time.Now().Add(d.config.WriteTimeout))
}

func (d *deadlines) wait(until time.Time) error {
	d.readUntil = until
	if !d.armed.IsZero() && !until.Before(d.armed) {
		return nil
	}
	return d.arm()
}

func (d *deadlines) arm() error {
	d.armed = d.readUntil
	return d.socket.SetReadDeadline(d.armed)
}

// early reports that the timer fired before the deadline.
func (d *deadlines) early(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !d.armed.Equal(d.readUntil)
}
