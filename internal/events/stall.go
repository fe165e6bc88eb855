package events

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

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

// stalls decides when a request speaks against the open connection of its
// stream: one without a reply while the stream was silent, or one that reached
// the Events API at an address at which the stream is not. A dead worker looks
// the same as a half-open stream from here, so a stream that stays silent is
// suspected less and less often.
type stalls struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends the open connection; nil without one
	opened time.Time
	remote string // the address at its other end
	asking bool   // whether a lookup is under way

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

// compareAddress is told where a publish is connected. If the stream's own
// address is another one that the name does not have any more, the stream is
// opened again: the reply will come from where the publish went.
func (s *stream) compareAddress(remote net.Addr) {
	d := &s.stalls
	d.mu.Lock()
	old := d.remote
	if d.cancel == nil || d.asking || old == "" || old == hostOf(remote) {
		d.mu.Unlock()
		return
	}
	d.asking = true
	d.mu.Unlock()
	s.client.background(func() { s.followName(old) }) // not at the end of Run, where nothing is opened again
}

// followName ends the connection to old if the name has moved away from it.
func (s *stream) followName(old string) {
	ctx, cancel := context.WithTimeout(s.client.ended, lookupTimeout)
	defer cancel()
	addresses, err := s.client.lookup(ctx)
	d := &s.stalls
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asking = false
	if err == nil && d.cancel != nil && d.remote == old && !slices.Contains(addresses, old) {
		d.cancel(errMoved)
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
