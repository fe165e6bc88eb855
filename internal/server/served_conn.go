package server

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/valyala/fasthttp"
)

// servedConn is a connection as fasthttp uses one: a single goroutine reads,
// writes and sets deadlines. It makes a busy connection cheap (see deadline)
// and one at rest small: between requests fasthttp keeps no buffer for it
// (Server.ReduceMemoryUsage), and waits by reading one byte. What comes in with
// that byte is read in the same call, into a buffer that is taken only once
// there is something to put in; otherwise the wait would cost a third system
// call for each request.
type servedConn struct {
	*conn
	reading, writing deadline

	raw      syscall.RawConn    // nil for a connection that has none
	tryFirst func(uintptr) bool // readFirst's, made once
	ahead    *[]byte            // from pool; nil when nothing was read ahead
	from, to int                // what is left in it
	failed   error              // how tryFirst ended, without data
	pool     *sync.Pool         // of *[]byte
	silent   func(net.Conn)     // called if not even a first request comes; then nil
}

// aheadBytes is read along with the first byte of a request: all of an
// ordinary one.
const aheadBytes = 4 << 10

// servedListener makes what l accepts ready for fasthttp.
type servedListener struct {
	net.Listener
	pool   sync.Pool
	silent func(net.Conn)
}

func (s *Server) served(l net.Listener) *servedListener {
	return &servedListener{Listener: l, silent: s.answerSilence, pool: sync.Pool{New: func() any {
		buffer := make([]byte, aheadBytes)
		return &buffer
	}}}
}

// Accept returns the next connection.
func (l *servedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	known, ok := c.(*conn)
	if !ok {
		known = &conn{Conn: c}
	}
	served := &servedConn{conn: known, pool: &l.pool, silent: l.silent}
	if system, ok := known.Conn.(syscall.Conn); ok {
		if raw, err := system.SyscallConn(); err == nil {
			served.raw, served.tryFirst = raw, served.readAhead
		}
	}
	return served, nil
}

func (c *servedConn) Read(p []byte) (int, error) {
	if c.ahead != nil {
		return c.takeAhead(p), nil
	}
	if len(p) == 1 && c.raw != nil {
		return c.readFirst(p)
	}
	n, err := c.Conn.Read(p)
	for n == 0 && err != nil && c.reading.early(err) {
		if err := c.armRead(); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(p)
	}
	return n, err
}

// readFirst waits for the next request and returns its first byte.
func (c *servedConn) readFirst(p []byte) (int, error) {
	err := c.raw.Read(c.tryFirst)
	for err != nil && c.reading.early(err) {
		if err := c.armRead(); err != nil {
			return 0, err
		}
		err = c.raw.Read(c.tryFirst)
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
	c.silent = nil
	return c.takeAhead(p), nil
}

// readAhead reads what is there, and reports false when there is nothing yet.
func (c *servedConn) readAhead(socket uintptr) bool {
	buffer := c.pool.Get().(*[]byte)
	for {
		n, err := syscall.Read(int(socket), *buffer)
		switch {
		case err == syscall.EINTR:
			continue
		case err == nil && n > 0:
			c.ahead, c.from, c.to, c.failed = buffer, 0, n, nil
			return true
		case err == nil:
			err = io.EOF
		}
		c.pool.Put(buffer)
		c.failed = err
		return err != syscall.EAGAIN
	}
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

func (c *servedConn) Write(p []byte) (int, error) {
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
