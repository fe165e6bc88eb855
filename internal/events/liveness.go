package events

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
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

// maxSuspectPause bounds the pause between two suspicions of a silent stream.
const maxSuspectPause = 15 * time.Minute

// liveness is whether a stream is up, and what hints that it is half-open.
type liveness struct {
	mu        sync.Mutex
	conn      *connection   // the one that is followed; nil without one
	connected chan struct{} // closed when there is one
	openings  int
	lost      time.Time // when the last one was lost; at first, when all began
	received  time.Time // when one last brought something

	suspicions    int       // since something was received
	nextSuspicion time.Time // no further one before this
	moved         time.Time // when the stream was last opened again for errMoved
}

// open says that conn is followed from now on.
func (s *stream) open(conn *connection) {
	s.client.judgeReady()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	s.isUp.Set(1)
	close(s.connected)
	if s.openings++; s.openings > 1 {
		s.reconnects.Inc()
	}
}

// lose says that the connection has ended.
func (s *stream) lose() {
	s.client.judgeReady()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.connected, s.lost = nil, make(chan struct{}), time.Now()
	s.isUp.Set(0)
}

// ever is longer than any stream is away or back.
const ever = time.Duration(math.MaxInt64)

// times are how long the stream has been away, 0 for one that is up, and how
// long it has been back: ever for one that was never lost.
func (s *stream) times() (away, back time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.openings == 0:
		return ever, 0
	case s.conn == nil:
		return time.Since(s.lost), 0
	case s.openings == 1:
		return 0, ever
	}
	return 0, time.Since(s.conn.opened)
}

// readyPause is how long a stream may be away before the client is not ready,
// and how long all of them must have been back before it is again.
const readyPause = 2 * time.Second

// judgeReady brings ready up to date. It is called before each change of a stream
// as well, so between two calls the streams stay as they are, and ready changes
// once at most.
func (c *Client) judgeReady() bool {
	c.judging.Lock()
	defer c.judging.Unlock()
	longestAway, shortestBack := time.Duration(0), ever
	for _, s := range c.streams {
		away, back := s.times()
		longestAway, shortestBack = max(longestAway, away), min(shortestBack, back)
	}
	switch {
	case longestAway >= readyPause:
		c.ready = false
	case longestAway == 0 && shortestBack >= readyPause:
		c.ready = true
	}
	return c.ready
}

// Ready is an error from 2 s after a stream was lost to 2 s after the last one
// came back, and before all are up for the first time.
func (c *Client) Ready() error {
	if c.judgeReady() {
		return nil
	}
	missing := slices.DeleteFunc(slices.Clone(c.config.Replies), func(reply string) bool { return c.Up(reply) == nil })
	if len(missing) == 0 {
		return fmt.Errorf("the reply streams have been back for less than %s", readyPause)
	}
	return fmt.Errorf("reply streams not connected: %s", strings.Join(missing, ", "))
}

// Up is an error while the stream of reply is not connected.
func (c *Client) Up(reply string) error {
	switch away, _ := c.streams[reply].times(); away {
	case 0:
		return nil
	case ever:
		return errors.New("not connected yet")
	default:
		return fmt.Errorf("away for %s", away.Round(time.Millisecond))
	}
}

// heard says that the connection brought something.
func (s *stream) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received, s.suspicions, s.nextSuspicion = time.Now(), 0, time.Time{}
}

// suspect says that a request that began then found no reply in time. If nothing
// came since, the stream may be half-open, and is opened again. A dead worker
// looks the same from here, so a stream that stays silent is suspected less and
// less often.
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
// now. A stream to none of them is opened again: replies will come from where
// publishes go. That happens once in RetryMax at most, so that a name with
// changing answers costs little.
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
