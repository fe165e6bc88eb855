package events

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// gate tells requests whether their reply stream is up.
type gate struct {
	up atomic.Bool

	mu      sync.Mutex
	changed chan struct{} // closed when the gate opens
	since   time.Time     // when it was last closed
	opened  bool          // whether it was ever open
}

func newGate() *gate {
	return &gate{changed: make(chan struct{}), since: time.Now()}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.up.Store(true)
	g.opened = true
	close(g.changed)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.up.Store(false)
	g.changed = make(chan struct{})
	g.since = time.Now()
}

// wait returns once the gate is open. It gives up, returning false, when ctx
// ends or the gate has been shut for longer than patience: in a long outage
// nobody waits.
func (g *gate) wait(ctx context.Context, patience time.Duration) bool {
	if g.up.Load() {
		return true
	}
	g.mu.Lock()
	changed, left := g.changed, patience-time.Since(g.since)
	g.mu.Unlock()
	timer := time.NewTimer(max(left, 0))
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return g.up.Load()
}

// missing reports a gate that was never open, or has been shut for grace.
func (g *gate) missing(grace time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.up.Load() && (!g.opened || time.Since(g.since) >= grace)
}
