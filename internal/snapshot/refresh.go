package snapshot

import (
	"context"
	"time"
)

// moving are the states that are on their way to another one.
var moving = map[string]bool{
	"starting": true, "stopping": true, "restarting": true, "rebooting": true,
	"provisioning": true, "pending": true, "resuming": true, "suspending": true,
}

// Run asks for the status whenever somebody waits for it, or reads one that is
// due. It returns when ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(asleep)
	defer timer.Stop()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.takeDown()
		k.ended = true
		k.announce()
	}()
	for {
		timer.Reset(k.step(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-timer.C:
		}
	}
}

// asleep is how long Run rests with nothing on display and nobody waiting.
const asleep = time.Hour

// step asks if it is time to, and returns how long there is nothing to do.
func (k *Keeper) step(ctx context.Context) time.Duration {
	due, ok := k.due()
	if !ok {
		return asleep
	}
	if due > 0 {
		return due
	}
	k.refresh(ctx)
	return 0
}

// due returns when to ask next, false when nobody wants to know.
func (k *Keeper) due() (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.current.Load()
	switch {
	case s == nil && k.waiting == 0, s != nil && !s.read.Load():
		return 0, false
	case s == nil && k.failure == nil:
		return 0, true
	case s == nil: // the failure still answers those who wait
		return failureHold - time.Since(k.failedAt), true
	case k.failure != nil: // what is shown outlives a failure for a while
		return s.refresh - time.Since(k.failedAt), true
	}
	return s.refresh - time.Since(s.askedAt), true
}

// refresh asks once and shows the answer, unless a write was accepted since it
// asked.
func (k *Keeper) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
	defer cancel()
	k.mu.Lock()
	epoch := k.epoch
	k.cancel = cancel
	k.mu.Unlock()

	askedAt := time.Now()
	status, err := k.config.Fetch(ctx)
	var document []byte
	if err == nil {
		document, err = status.Render()
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.cancel = nil
	switch {
	case epoch != k.epoch:
		k.metrics.discarded.Inc()
		return // Run comes again at once for those who wait
	case err != nil:
		k.metrics.failed.Inc()
		k.failure, k.failedAt = err, time.Now()
	default:
		k.metrics.refreshed.Inc()
		k.show(status, document, askedAt)
	}
	k.announce()
}

// show puts a status on display. The caller holds mu.
func (k *Keeper) show(status Status, document []byte, askedAt time.Time) {
	next := &shown{document: document, askedAt: askedAt, refresh: k.config.Refresh}
	if moving[status.State] {
		next.refresh = k.config.RefreshMoving
	}
	// One that took long to arrive still serves the readers who waited for it.
	display := max(next.refresh-time.Since(askedAt), k.config.RefreshMoving)
	next.timer = time.AfterFunc(display, func() { k.end(next) })
	k.lapsed, k.failure = nil, nil
	if old := k.current.Swap(next); old != nil {
		old.timer.Stop()
	}
}

// end takes s down: when it is due for a refresh and nobody has read it, so
// that whoever comes next waits for a new one, or else at its maximum age.
func (k *Keeper) end(s *shown) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current.Load() != s {
		return
	}
	left := k.config.MaxAge - time.Since(s.askedAt)
	if s.read.Load() && left > 0 {
		s.timer.Reset(left)
		return
	}
	k.current.Store(nil)
	k.lapsed = s
}

// takeDown leaves nothing on display. The caller holds mu.
func (k *Keeper) takeDown() {
	if s := k.current.Swap(nil); s != nil {
		s.timer.Stop()
	}
}
