package server

import (
	"errors"
	"net"
	"os"
	"time"
)

// limits of what a connection may take; see Config.
type limits struct{ read, write, idle time.Duration }

// times are the time-outs of a connection. An ordinary request comes in one
// piece and its reply goes out in one, so the clock is looked at when either
// does not. What is left is the time to rest between requests: its timer stays
// where it is while it would only go off too early, and is set anew when it
// did, once in a time-out instead of at every request.
type times struct {
	limits *limits
	socket net.Conn

	readUntil time.Time // when the wait for bytes has lasted too long
	armed     time.Time // when its timer goes off
	begun     bool      // the first byte of a request is there
	reading   bool      // readUntil is that of the request
	sending   bool      // the timer of a reply is set
}

// opened begins the time to send a first request.
func (t *times) opened(now time.Time) error { return t.wait(now.Add(t.limits.read)) }

// handled ends a request: its reply may be sent, and its connection rest. An
// error of the socket comes up again when it is read or written.
func (t *times) handled(now time.Time) {
	t.begun, t.reading = false, false
	_ = t.wait(now.Add(t.limits.idle))
	t.newReply()
}

// needMore begins the time to send a request when it did not come in one piece.
func (t *times) needMore() error {
	if t.reading {
		return nil
	}
	t.reading = true
	return t.wait(time.Now().Add(t.limits.read))
}

// newReply forgets the time of an earlier one.
func (t *times) newReply() {
	if t.sending {
		t.sending = false
		_ = t.socket.SetWriteDeadline(time.Time{})
	}
}

// replied begins the rest anew if the reply before it took its time.
func (t *times) replied() {
	if t.sending {
		t.newReply()
		_ = t.wait(time.Now().Add(t.limits.idle))
	}
}

// noRoom begins the time to send a reply when it did not go out in one piece.
func (t *times) noRoom() error {
	if t.sending {
		return nil
	}
	t.sending = true
	return t.socket.SetWriteDeadline(time.Now().Add(t.limits.write))
}

func (t *times) wait(until time.Time) error {
	t.readUntil = until
	if !t.armed.IsZero() && !until.Before(t.armed) {
		return nil
	}
	return t.arm()
}

func (t *times) arm() error {
	t.armed = t.readUntil
	return t.socket.SetReadDeadline(t.armed)
}

// early reports that the timer went off before its time.
func (t *times) early(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !t.armed.Equal(t.readUntil)
}
