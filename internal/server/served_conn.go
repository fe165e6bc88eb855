package server

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// servedConn is a connection as fasthttp uses one: a single goroutine reads and
// writes. It makes a busy connection cheap and one at rest small.
//
// Between requests fasthttp keeps no buffer for it (Server.ReduceMemoryUsage),
// and waits by reading one byte. What comes in with that byte is read in the
// same call, into a buffer that is taken only once there is something to put
// in; otherwise the wait would cost a third system call for each request.
//
// It keeps its own time-outs (see times), because fasthttp looks at the clock
// for each of them at every request.
type servedConn struct {
	*conn
	times

	raw       syscall.RawConn
	readAhead func(socket uintptr) bool // receive, as raw wants it
	sendAll   func(socket uintptr) bool // send, likewise
	failed    error                     // how one of them ended, but for waiting

	pool     *sync.Pool // of *[]byte
	ahead    *[]byte    // from pool; nil when nothing was read ahead
	from, to int        // what is left in it
	unsent   []byte     // what is left of a Write

	silent func(net.Conn) // called if not even a first request comes; then nil
}

// aheadBytes is read along with the first byte of a request: all of an
// ordinary one.
const aheadBytes = 4 << 10

// servedListener makes what l accepts ready for fasthttp.
type servedListener struct {
	net.Listener
	limits limits
	pool   sync.Pool
	silent func(net.Conn)
}

func (s *Server) served(l net.Listener) *servedListener {
	return &servedListener{
		Listener: l,
		limits:   limits{s.config.ReadTimeout, s.config.WriteTimeout, s.config.IdleTimeout},
		pool: sync.Pool{New: func() any {
			buffer := make([]byte, aheadBytes)
			return &buffer
		}},
		silent: s.answerSilence,
	}
}

// Accept returns the next connection: of TCP or of a unix socket, since it has
// to be a socket of the system.
func (l *servedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	known, ok := c.(*conn)
	if !ok {
		known = &conn{Conn: c}
	}
	raw, err := known.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	served := &servedConn{
		conn: known, times: times{limits: &l.limits, socket: known.Conn},
		raw: raw, pool: &l.pool, silent: l.silent,
	}
	served.readAhead, served.sendAll = served.receive, served.send
	return served, served.opened(time.Now())
}

// Read returns the first byte of the next request when that is all there is
// room for, as fasthttp waits for one.
func (c *servedConn) Read(p []byte) (int, error) {
	switch {
	case c.ahead != nil:
		return c.takeAhead(p), nil
	case len(p) == 1 && !c.begun:
		c.replied()
		return c.readFirst(p)
	}
	if err := c.needMore(); err != nil {
		return 0, err
	}
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !c.early(err) {
			return n, err
		}
		if err := c.arm(); err != nil {
			return 0, err
		}
	}
}

func (c *servedConn) readFirst(p []byte) (int, error) {
	err := c.raw.Read(c.readAhead)
	for err != nil && c.early(err) {
		if err = c.arm(); err == nil {
			err = c.raw.Read(c.readAhead)
		}
	}
	if err == nil {
		err = c.failed
	}
	if err != nil {
		if c.silent != nil && os.IsTimeout(err) {
			c.silent(c)
		}
		return 0, err
	}
	c.silent, c.begun = nil, true
	return c.takeAhead(p), nil
}

// receive reads ahead what is there, and reports false when there is nothing
// yet.
func (c *servedConn) receive(socket uintptr) bool {
	buffer := c.pool.Get().(*[]byte)
	n, errno := receiveNow(socket, *buffer)
	if n > 0 {
		c.ahead, c.from, c.to, c.failed = buffer, 0, n, nil
		return true
	}
	c.pool.Put(buffer)
	switch errno {
	case unix.EAGAIN:
		return false
	case 0:
		c.failed = io.EOF
	default:
		c.failed = os.NewSyscallError("recvfrom", errno)
	}
	return true
}

// takeAhead hands out what was read ahead; the last of it frees the buffer.
func (c *servedConn) takeAhead(p []byte) int {
	n := copy(p, (*c.ahead)[c.from:c.to])
	if c.from += n; c.from == c.to {
		c.pool.Put(c.ahead)
		c.ahead = nil
	}
	return n
}

// Write sends p, within the time for the whole reply.
func (c *servedConn) Write(p []byte) (int, error) {
	c.unsent, c.failed = p, nil
	err := c.raw.Write(c.sendAll)
	if err == nil {
		err = c.failed
	}
	n := len(p) - len(c.unsent)
	c.unsent = nil
	return n, err
}

// send sends what is unsent, and reports false when there is no room for it.
func (c *servedConn) send(socket uintptr) bool {
	for len(c.unsent) > 0 {
		n, errno := sendNow(socket, c.unsent)
		switch errno {
		case 0:
			c.unsent = c.unsent[n:]
		case unix.EAGAIN:
			if c.failed = c.noRoom(); c.failed == nil {
				return false
			}
			return true
		default:
			c.failed = os.NewSyscallError("sendto", errno)
			return true
		}
	}
	return true
}

// answerSilence tells a client that connected and said nothing why its
// connection ends (RFC 9110 §15.5.9). fasthttp does so by itself only when it
// waits with a buffer.
func (s *Server) answerSilence(c net.Conn) {
	var ctx fasthttp.RequestCtx
	ctx.Init2(c, silent{}, true)
	s.refuse(&ctx, os.ErrDeadlineExceeded)
	ctx.SetConnectionClose()
	_, _ = ctx.Response.WriteTo(c)
}
