package snapshot

import (
	"context"
	"math"
	"time"
)

const (
	// How long a write of this process is watched: first as while the state moves,
	// then as at rest.
	watchClosely, watchFor = time.Minute, 10 * time.Minute
	idleWait               = time.Hour // when no refresh is due
)

// watch is for the status to say state, which a write leads to; after one of this
// process's own it counts as a reader. An empty one is none.
type watch struct {
	state string
	own   bool
	since time.Time
}

// Run asks for the status whenever a reader waits for it, reads one that is due,
// or a write is watched. It returns when ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.current.Store(nil)
		k.end(answer{number: math.MaxUint64, err: context.Canceled}) // whatever is wanted
	}()
	for {
		due := k.due()
		if due <= 0 && ctx.Err() == nil {
			k.refresh(ctx)
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-time.After(due):
		}
	}
}

// due returns when to ask next.
func (k *Keeper) due() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	interval, followed := idleWait, k.follows.Load() > 0
	switch s := k.current.Load(); {
	case k.wanted > k.asked, followed && k.floor > k.asked:
		return 0
	case s != nil && (followed || s.read.Load()):
		interval = s.refresh
	case s == nil && followed:
		interval = k.pace(k.latest.Load().Seen)
	}
	if k.watching.state != "" {
		switch watched := since(k.watching.since); {
		case watched >= watchFor:
			k.watching = watch{}
		case !k.watching.own:
		case watched < watchClosely:
			interval = min(interval, k.config.RefreshMoving)
		default:
			interval = min(interval, k.config.Refresh)
		}
	}
	if interval == idleWait {
		return idleWait
	}
	return interval - time.Since(k.last.from)
}

// pace is how long after a status the next one is asked for.
func (k *Keeper) pace(seen *Seen) time.Duration {
	if seen == nil || seen.Moving {
		return k.config.RefreshMoving
	}
	return k.config.Refresh
}

// refresh asks once. The answer goes to the readers that need it, and is shown
// to those who come if no write was accepted since it was asked for.
func (k *Keeper) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
	defer cancel()
	k.mu.Lock()
	k.asked++
	k.began = time.Now()
	if !k.began.After(k.since) { // a clock that ticks slowly
		k.began = k.since.Add(time.Nanosecond)
	}
	got := answer{number: k.asked, from: k.began}
	k.mu.Unlock()

	status, err := k.config.Fetch(ctx)
	if err == nil {
		got.seen, err = status.See(got.from)
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		if got.number >= k.floor && status.State == k.watching.state {
			k.watching = watch{}
		}
		got.seen.Settled = got.seen.Settled && k.watching.state == ""
	}
	switch {
	case err != nil:
		got.err, got.from = err, time.Now()
		k.failed.Inc()
		// It goes on to be asked for only if it goes on to be read.
		if s := k.current.Load(); s != nil {
			k.current.Store(&shown{Seen: s.Seen, fresh: since(s.AskedAt) + s.refresh, refresh: s.refresh})
		}
	case got.number < k.floor:
		k.overtaken.Inc()
	default:
		k.refreshed.Inc()
		if k.lost > 0 {
			break
		}
		next := &shown{Seen: got.seen, refresh: k.pace(got.seen)}
		// One that took long to arrive still serves those who come right after it.
		next.fresh = max(next.refresh, since(got.from)+k.config.RefreshMoving)
		k.current.Store(next)
	}
	k.end(got)
}

// end tells readers and followers how a request has ended. The caller holds mu.
func (k *Keeper) end(got answer) {
	k.last = got
	seen := k.latest.Load().Seen
	if got.err == nil && got.number >= k.follow {
		k.follow, k.told, seen = k.floor, got.number, got.seen
	}
	changed := k.changed
	k.changed = make(chan struct{})
	k.latest.Store(&News{seen, k.since, k.changed}) // before those who wait for it look
	close(changed)
}
