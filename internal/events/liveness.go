package events

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

// errReopen is why a connection that still seems good is given up. That is our
// own choice, and the server may be well: no pause, no alarm.
var (
	errReopen    = errors.New("the stream is opened again")
	errSilent    = fmt.Errorf("%w: it was silent for too long", errReopen)
	errSuspected = fmt.Errorf("%w: a request found no reply while it was silent", errReopen)
	errMoved     = fmt.Errorf("%w: the name of the Events API has moved to another address", errReopen)
)

const (
	// readyPause is how long a stream may be away before it is not ready, and how long
	// it must have been back before it is again.
	readyPause      = 2 * time.Second
	maxSuspectPause = 15 * time.Minute // between two suspicions of a silent stream
)

// liveness is whether a stream is up, and what hints that it is half-open.
type liveness struct {
	mu        sync.Mutex
	conn      *connection   // the one that is followed; nil without one
	connected chan struct{} // closed when there is one
	openings  int
	lost      time.Time // when the last one was lost; at first, when all began
	received  time.Time // when one last brought something
	steady    time.Time // of a stream that is up, from when on it is ready; of one that is away, until when

	suspicions    int       // since something was received
	nextSuspicion time.Time // no further one before this
	moved         time.Time // when the stream was last opened again for errMoved
}

// open says that conn is followed from now on.
func (s *stream) open(conn *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.openings == 0 || s.isSteady()
	if s.conn, s.steady = conn, time.Now(); !was {
		s.steady = s.steady.Add(readyPause)
	}
	s.isUp.Set(1)
	close(s.connected)
	if s.openings++; s.openings > 1 {
		s.reconnects.Inc()
	}
}

// lose says that the connection has ended.
func (s *stream) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.isSteady()
	s.conn, s.connected, s.lost, s.steady = nil, make(chan struct{}), time.Now(), time.Time{}
	if was {
		s.steady = s.lost.Add(readyPause)
	}
	s.isUp.Set(0)
}

// isSteady reports whether the stream is ready: up and past steady, or away and before
// it. The caller holds mu.
func (s *stream) isSteady() bool { return time.Now().Before(s.steady) == (s.conn == nil) }

// Ready is an error from 2 s after the stream of reply was lost to 2 s after it came
// back, and before it is up for the first time.
func (c *Client) Ready(reply string) error {
	s := c.streams[reply]
	s.mu.Lock()
	defer s.mu.Unlock()
	state := fmt.Sprintf("away for %s", time.Since(s.lost).Round(time.Millisecond))
	switch {
	case s.isSteady():
		return nil
	case s.openings == 0:
		state = "not connected yet"
	case s.conn != nil:
		state = fmt.Sprintf("back for less than %s", readyPause)
	}
	return fmt.Errorf("the reply stream %s is %s", reply, state)
}

// heard says that the connection brought something.
func (s *stream) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received, s.suspicions, s.nextSuspicion = time.Now(), 0, time.Time{}
}

// suspect says that a request that began then found no reply in time. If nothing
// came since, the stream may be half-open, and is opened again. A dead worker looks
// the same from here, so a silent stream is suspected less and less often.
func (s *stream) suspect(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.conn == nil || s.conn.opened.After(began) || s.received.After(began) || now.Before(s.nextSuspicion) {
		return
	}
	s.nextSuspicion = now.Add(backoff.Delay(s.suspicions, s.client.config.RetryMax, maxSuspectPause, rand.Float64()))
	s.suspicions++
	s.conn.cancel(errSuspected)
}

// resolved says which addresses the name of the Events API, or of its proxy, has
// now. A stream to none of them is opened again, since replies will come from where
// publishes go; once in RetryMax at most, for names with changing answers.
func (s *stream) resolved(addresses []net.IPAddr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.conn.remote == nil || len(addresses) == 0 || time.Since(s.moved) < s.client.config.RetryMax ||
		slices.ContainsFunc(addresses, func(a net.IPAddr) bool { return a.IP.Equal(s.conn.remote) }) {
		return
	}
	s.moved = time.Now()
	s.conn.cancel(errMoved)
}
