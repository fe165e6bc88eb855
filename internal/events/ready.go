package events

import (
	"context"
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
