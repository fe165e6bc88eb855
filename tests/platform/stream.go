package platform

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// queueLimit bounds what may wait for one listener; a listener further behind
// is cut, as the real API sheds a reader that does not read.
const queueLimit = 1 << 17

// stream is one open listener.
type stream struct {
	key   groupKey
	group *group // nil for broadcast; guarded by the broker's lock
	conn  net.Conn
	dead  atomic.Bool // half-open: swallows everything, for good

	mu    sync.Mutex
	queue []*event
	wake  chan struct{} // holds one token while queue has something
}

func newStream(key groupKey, conn net.Conn) *stream {
	return &stream{key: key, conn: conn, wake: make(chan struct{}, 1)}
}

// push queues ev; it never blocks.
func (s *stream) push(ev *event) {
	s.mu.Lock()
	s.queue = append(s.queue, ev)
	full := len(s.queue) > queueLimit
	s.mu.Unlock()
	if full {
		reset(s.conn)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what is queued and empties the queue.
func (s *stream) take() []*event {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.queue
	s.queue = nil
	return batch
}

// reset ends conn with a RST, so that the peer notices at once and nothing
// that waits in the socket is sent.
func reset(conn net.Conn) {
	if tcp, ok := tcpOf(conn); ok {
		_ = tcp.SetLinger(0) // fails only on a closed connection
		_ = tcp.Close()      // under TLS, so that not even a close_notify is sent
	}
	_ = conn.Close()
}

// signal lets goroutines wait until a condition over guarded state holds.
type signal struct {
	mu     sync.Mutex
	change chan struct{}
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

func (s *signal) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == nil {
		s.change = make(chan struct{})
	}
	return s.change
}

// wait returns nil once holds does, or the error of ctx. Whatever changes the
// condition must notify after the change.
func (s *signal) wait(ctx context.Context, holds func() bool) error {
	for {
		changed := s.changed()
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
