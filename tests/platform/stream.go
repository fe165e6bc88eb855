package platform

import (
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
