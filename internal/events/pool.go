package events

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxPublishConns bounds the connections that publish at a time.
	maxPublishConns = 128
	// maxConnWait is how long a publish waits for one of them.
	maxConnWait = 5 * time.Second
	// maxConnIdle is below the keep-alive time of common servers (5 s and up),
	// so that a connection is seldom used while its server closes it.
	maxConnIdle = 4 * time.Second
	readBuffer  = 4 << 10
)

var errNoFreeConn = errors.New("all connections to the Events API are waiting for an answer")

// pool keeps connections for publishing. Unlike fasthttp's HostClient it looks
// at an idle connection before it is used again, so that a server restart
// leaves no publish with an unknown outcome, and it ends with a context.
type pool struct {
	dial   func(context.Context) (net.Conn, error)
	places chan struct{} // one in it per connection in use

	mu     sync.Mutex
	idle   []*pooledConn // used last is last
	sweep  *time.Timer   // closes what is idle too long; nil when nothing is
	closed bool
}

type pooledConn struct {
	net.Conn
	in   *bufio.Reader
	used time.Time
}

func newPool(dial func(context.Context) (net.Conn, error)) *pool {
	return &pool{dial: dial, places: make(chan struct{}, maxPublishConns)}
}

// get returns a connection with the deadline of ctx, to be given back by put.
func (p *pool) get(ctx context.Context) (*pooledConn, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	for conn := p.pop(); conn != nil; conn = p.pop() {
		if conn.SetDeadline(deadline) == nil && alive(conn.Conn) {
			return conn, nil
		}
		conn.Close()
	}
	conn, err := p.dial(ctx)
	if err == nil {
		err = conn.SetDeadline(deadline)
	}
	if err != nil {
		<-p.places
		return nil, err
	}
	return &pooledConn{Conn: conn, in: bufio.NewReaderSize(conn, readBuffer)}, nil
}

// enter takes a place.
func (p *pool) enter(ctx context.Context) error {
	select {
	case p.places <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(maxConnWait)
	defer patience.Stop()
	select {
	case p.places <- struct{}{}:
		return nil
	case <-patience.C:
		return errNoFreeConn
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pool) pop() *pooledConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	conn := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return conn
}

// put gives a place back, with its connection if that can be used again.
func (p *pool) put(conn *pooledConn, reusable bool) {
	p.mu.Lock()
	if reusable && !p.closed {
		conn.used = time.Now()
		p.idle = append(p.idle, conn)
		if p.sweep == nil {
			p.sweep = time.AfterFunc(maxConnIdle, p.closeStale)
		}
		conn = nil
	}
	p.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
	<-p.places
}

// closeStale runs on the sweep timer for as long as connections are idle.
func (p *pool) closeStale() {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := 0
	for fresh < len(p.idle) && time.Since(p.idle[fresh].used) >= maxConnIdle {
		p.idle[fresh].Close()
		fresh++
	}
	p.idle = slices.Delete(p.idle, 0, fresh)
	p.sweep = nil
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(maxConnIdle-time.Since(p.idle[0].used), p.closeStale)
	}
}

// close closes what is idle, and what is in use as soon as it is given back.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	for _, conn := range p.idle {
		conn.Close()
	}
	p.idle = nil
}
