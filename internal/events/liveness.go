package events

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ready tells requests whether their reply stream is up.
type ready struct {
	up atomic.Bool

	mu      sync.Mutex
	changed chan struct{} // closed when the stream comes up
	since   time.Time     // when it was last lost
	opened  bool          // whether it was ever up
}

func newReady() *ready {
	return &ready{changed: make(chan struct{}), since: time.Now()}
}

func (r *ready) set() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up.Store(true)
	r.opened = true
	close(r.changed)
}

func (r *ready) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up.Store(false)
	r.changed = make(chan struct{})
	r.since = time.Now()
}

// wait returns once the stream is up. It gives up, returning false, when ctx
// ends or the stream has been lost for longer than timeout: in a long outage no
// request waits.
func (r *ready) wait(ctx context.Context, timeout time.Duration) bool {
	r.mu.Lock()
	changed, left := r.changed, timeout-time.Since(r.since)
	r.mu.Unlock()
	timer := time.NewTimer(max(left, 0))
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return r.up.Load()
}

// missing reports a stream that was never up, or has been lost for grace.
func (r *ready) missing(grace time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.up.Load() && (!r.opened || time.Since(r.since) >= grace)
}

// Why a connection that still seems good is given up.
var (
	errSilent    = errors.New("the stream was silent for too long")
	errSuspected = errors.New("a request found no reply on a silent stream")
	errMoved     = errors.New("the name of the Events API has moved to another address")
)

// maxSuspectPause bounds the pause between two suspicions of a silent stream.
const maxSuspectPause = 15 * time.Minute

// lookupTimeout bounds asking for the addresses of the Events API.
const lookupTimeout = 5 * time.Second

// stalls detects half-open streams by requests that find no reply while the
// stream is silent. A dead worker looks the same from here, so a stream that
// stays silent is suspected less and less often.
type stalls struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends the open connection; nil without one
	opened time.Time
	remote string // the address at its other end

	count    int
	received uint64    // what had been received at the last suspicion
	until    time.Time // no further one before this, unless something is received
}

func (s *stalls) begin(opened time.Time, remote string, cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened, s.remote, s.cancel = opened, remote, cancel
}

func (s *stalls) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = nil
}

// suspect says that a request of requestedAt found no reply in time, when the
// stream had received so many reads at that time. If none came since, the
// stream may be half-open, and is opened again.
func (s *stream) suspect(requestedAt time.Time, received uint64) {
	d := &s.stalls
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel == nil || d.opened.After(requestedAt) || s.received.Load() != received {
		return
	}
	if d.received != received {
		d.count, d.received, d.until = 0, received, time.Time{}
	}
	now := time.Now()
	if now.Before(d.until) {
		return
	}
	d.until = now.Add(s.delay(d.count, s.client.config.RetryMax, maxSuspectPause))
	d.count++
	d.cancel(errSuspected)
}

// connectedTo is told where a publish is connected. A stream whose own address
// is another one, which the name does not have any more, is opened again: replies
// will come from where the publish went. The name is looked up once in RetryMax
// at most, so that a name with changing answers costs little.
func (c *Client) connectedTo(remote net.Addr) {
	host := hostOf(remote)
	elsewhere := false
	for _, s := range c.streams {
		elsewhere = elsewhere || s.stalls.isElsewhere(host)
	}
	if !elsewhere || !c.mayLookUp(time.Now()) {
		return
	}
	c.background(func() {
		ctx, cancel := context.WithTimeout(c.ended, lookupTimeout)
		defer cancel()
		addresses, err := c.lookup(ctx)
		if err != nil {
			return
		}
		for _, s := range c.streams {
			if s.stalls.isElsewhere(addresses...) {
				s.stalls.endWith(errMoved)
			}
		}
	})
}

func (c *Client) mayLookUp(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.lookedUp) < c.config.RetryMax {
		return false
	}
	c.lookedUp = now
	return true
}

// isElsewhere reports an open connection to none of addresses.
func (s *stalls) isElsewhere(addresses ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancel != nil && s.remote != "" && !slices.Contains(addresses, s.remote)
}

// endWith ends the open connection.
func (s *stalls) endWith(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel(cause)
	}
}

// hostOf is the host of a network address, without its port.
func hostOf(address net.Addr) string {
	if address == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return ""
	}
	return host
}
