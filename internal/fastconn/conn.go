// Package fastconn is the connection layer under fasthttp: connections that
// are cheap while busy and small while idle (docs/adr/0007-fastconn.md).
//
// Between requests fasthttp keeps no buffer for a connection when
// Server.ReduceMemoryUsage is set, and waits by reading one byte. What arrives
// with that byte is read ahead in the same system call, and handed out one
// request at a time, as far as it is well framed (framing.go). On Linux system
// calls go past the poller (fast.go); on other systems, and under the race
// detector, a connection reads and writes as net.Conn does (plain.go).
package fastconn

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A connection closed with unread bytes in its receive buffer is reset, and
// the reset can overtake the reply (RFC 9112 §9.6). So a lingering close reads
// on after the reply was sent, within these bounds.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
	goneWait    = time.Millisecond // for what is there already
)

// Config is what the connections of a listener have in common.
type Config struct {
	ReadTimeout  time.Duration // of a whole request, from its first byte on, and of the wait for the first one
	WriteTimeout time.Duration // of sending a reply; the time to make it does not count
	IdleTimeout  time.Duration // of the wait between requests
	// HeaderBytes bounds the request line and headers. Their number is bounded with
	// it, and what in them takes long to read.
	HeaderBytes int
	// Silent may write to a connection whose first request did not begin
	// within ReadTimeout, before it is closed; nil for none.
	Silent func(net.Conn)
}

// NewListener returns a listener whose Accept returns connections of l as *Conn.
func NewListener(l net.Listener, config Config) net.Listener {
	return &listener{l, config}
}

type listener struct {
	net.Listener
	config Config
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		socket, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &Conn{Conn: socket, config: &l.config, silent: l.config.Silent}
		if c.open() == nil && c.wait(time.Now().Add(l.config.ReadTimeout)) == nil {
			return c, nil
		}
		_ = socket.Close() // it alone is of no use
	}
}

// Conn is a connection as fasthttp uses one: a single goroutine reads and
// writes, others may close it. Deadlines are its own, so fasthttp must set none.
type Conn struct {
	net.Conn
	transport
	framing
	ahead             *[]byte // from buffers; nil when nothing is left of what was read
	from, cleared, to int     // what may be handed out of it, and what is left
	config            *Config
	silent            func(net.Conn) // nil once a first request has begun

	readUntil time.Time // when the wait for bytes ends
	armed     time.Time // when its timer fires
	begun     bool      // the first byte of a request has arrived
	reading   bool      // readUntil is that of the request
	sending   bool      // the deadline of a reply is set

	closing sync.Once
	linger  atomic.Bool // set before Close
}

// buffers take all of an ordinary request at once. They are taken when there is
// something to read, and given back when it was handed out: an idle connection has none.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 4<<10)) }}

// Read returns what is there of one request, and then waits for the next only
// after RequestDone. It fails where the request is at fault.
func (c *Conn) Read(p []byte) (int, error) {
	if !c.begun && c.sending { // the reply before it was slow: idle time starts again
		c.startReply()
		_ = c.wait(time.Now().Add(c.config.IdleTimeout))
	}
	if c.ahead == nil {
		if err := c.fill(); err != nil {
			if !c.begun && c.silent != nil && os.IsTimeout(err) {
				c.silent(c)
			}
			return 0, err
		}
	}
	c.silent, c.begun = nil, true
	if c.from == c.cleared {
		c.cleared += c.follow((*c.ahead)[c.from:c.to], c.config.HeaderBytes)
		if c.from == c.cleared {
			return 0, cmp.Or(c.fault, ErrLine) // without a fault, fasthttp reads past what is the end to framing
		}
	}
	n := copy(p, (*c.ahead)[c.from:c.cleared])
	if c.from += n; c.from == c.to {
		buffers.Put(c.ahead)
		c.ahead, c.from, c.cleared, c.to = nil, 0, 0, 0
	}
	return n, nil
}

// fill waits for bytes and reads them ahead.
func (c *Conn) fill() error {
	if c.begun && !c.reading { // the request did not arrive in one piece
		c.reading = true
		if err := c.wait(time.Now().Add(c.config.ReadTimeout)); err != nil {
			return err
		}
	}
	err := c.receive()
	for errors.Is(err, os.ErrDeadlineExceeded) && !c.armed.Equal(c.readUntil) { // the timer was early
		if err = c.arm(); err == nil {
			err = c.receive()
		}
	}
	return err
}

// receivePlain and writePlain go by net.Conn's Read and Write.
func (c *Conn) receivePlain() error {
	buffer := buffers.Get().(*[]byte)
	n, err := c.Conn.Read(*buffer)
	if n == 0 {
		buffers.Put(buffer)
		return err
	}
	c.ahead, c.to = buffer, n
	return nil
}

func (c *Conn) writePlain(p []byte) (int, error) {
	if err := c.noRoom(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// IsHead reports that the request that is being read has the method HEAD.
func (c *Conn) IsHead() bool { return c.head }

// Fault is what is wrong with its framing, one of the errors above, or nil.
func (c *Conn) Fault() error { return c.fault }

// Gone reports that the peer has closed the connection, or will send nothing more on
// it. It is for the middle of a reply after which the connection is closed: what the
// peer has sent is dropped.
func (c *Conn) Gone() bool {
	var dropped [512]byte
	if c.Conn.SetReadDeadline(time.Now().Add(goneWait)) != nil {
		return true
	}
	_, err := c.Conn.Read(dropped[:])
	return err != nil && !os.IsTimeout(err)
}

// LingerOnClose makes Close wait for the peer to finish sending.
func (c *Conn) LingerOnClose() { c.linger.Store(true) }

// Close ends the connection once. If it lingers, it sends the end of the reply
// first, then drops what still arrives.
func (c *Conn) Close() (err error) {
	c.closing.Do(func() {
		half, ok := c.Conn.(interface{ CloseWrite() error })
		if c.linger.Load() && ok && half.CloseWrite() == nil && c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
		}
		err = c.Conn.Close()
	})
	return err
}

// An ordinary request arrives in one piece and its reply leaves in one, so the
// clock is read only when either does not. That leaves the wait between
// requests: a timer that would only fire too early is left and set again when
// it fires, once in a time-out instead of once for each request.

// RequestDone ends a request: from now on its reply may be sent, and the
// connection be idle. An error of the socket comes up again when it is read or
// written.
func (c *Conn) RequestDone(now time.Time) {
	c.begun, c.reading, c.framing = false, false, framing{}
	_ = c.wait(now.Add(c.config.IdleTimeout))
	c.startReply()
}

// startReply clears the deadline of an earlier reply.
func (c *Conn) startReply() {
	if c.sending {
		c.sending = false
		_ = c.Conn.SetWriteDeadline(time.Time{})
	}
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
