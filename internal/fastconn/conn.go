// Package fastconn is the connection layer under fasthttp: connections that
// are cheap while busy and small while idle (docs/adr/0007-fastconn.md).
//
// Between requests fasthttp keeps no buffer for a connection when
// Server.ReduceMemoryUsage is set, and waits by reading one byte. On Linux what
// arrives with that byte is read ahead in the same system call, and system
// calls go past the poller (fast.go). On other systems, and under the race
// detector, a connection reads and writes as net.Conn does (plain.go). The
// deadlines and the lingering close are the same everywhere.
package fastconn

import (
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
)

// Config is what the connections of a listener have in common.
type Config struct {
	// ReadTimeout bounds a whole request, from its first byte on, and the wait
	// for the first request of a connection.
	ReadTimeout time.Duration
	// WriteTimeout bounds sending a reply; the time to make it does not count.
	WriteTimeout time.Duration
	// IdleTimeout bounds the wait between requests.
	IdleTimeout time.Duration
	// Silent may write to a connection whose first request did not begin
	// within ReadTimeout, before it is closed; nil for none.
	Silent func(net.Conn)
}

// NewListener returns a listener whose Accept returns connections of l as *Conn.
// On Linux they must be sockets: TCP or unix.
func NewListener(l net.Listener, config Config) net.Listener {
	return &listener{l, config}
}

type listener struct {
	net.Listener
	config Config
}

func (l *listener) Accept() (net.Conn, error) {
	socket, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: socket, config: &l.config, silent: l.config.Silent}
	if err := c.open(); err != nil {
		_ = socket.Close()
		return nil, err
	}
	return c, c.wait(time.Now().Add(l.config.ReadTimeout))
}

// Conn is a connection as fasthttp uses one: a single goroutine reads and
// writes, others may close it. Deadlines are its own, so fasthttp must set none.
type Conn struct {
	net.Conn
	transport
	config *Config
	silent func(net.Conn) // nil once a first request has begun

	readUntil time.Time // when the wait for bytes ends
	armed     time.Time // when its timer fires
	begun     bool      // the first byte of a request has arrived
	reading   bool      // readUntil is that of the request
	sending   bool      // the deadline of a reply is set

	closing sync.Once
	closed  error       // what closing returned
	linger  atomic.Bool // set before Close
}

// Read returns the first byte of the next request when there is room for only
// one byte, which is how fasthttp waits for a request.
func (c *Conn) Read(p []byte) (int, error) {
	if n := c.takeAhead(p); n > 0 {
		return n, nil
	}
	first := len(p) == 1 && !c.begun
	if first {
		c.replied()
	} else if err := c.needMore(); err != nil {
		return 0, err
	}
	n, err := c.receive(p, first)
	for err != nil && c.early(err) {
		if err = c.arm(); err == nil {
			n, err = c.receive(p, first)
		}
	}
	switch {
	case !first:
	case err == nil:
		c.silent, c.begun = nil, true
	case c.silent != nil && os.IsTimeout(err):
		c.silent(c)
	}
	return n, err
}

// LingerOnClose makes Close wait for the peer to finish sending.
func (c *Conn) LingerOnClose() { c.linger.Store(true) }

// Close ends the connection once.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		if c.linger.Load() {
			c.discard()
		}
		c.closed = c.Conn.Close()
	})
	return c.closed
}

// discard sends the end of the reply, then drops what still arrives.
func (c *Conn) discard() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}
