package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

const (
	// observeEvery is how often PostgreSQL is looked at for what other replicas wrote.
	observeEvery = time.Second
	// overlap is how far such a look goes back: a transaction may be confirmed later
	// than one that began after it.
	overlap = 2*callTimeout + observeEvery
	// maxObserved bounds a look, after an outage of this replica alone too. Older ones
	// are left out.
	maxObserved = 10_000
)

// changes passes each change once to Config.Changed, and to every Await of it.
type changes struct {
	over chan struct{} // closed when none is awaited any more

	mu      sync.Mutex
	known   map[string]stage // what Changed has had within the overlap
	awaited map[string][]chan Operation
}

type stage struct {
	number int
	at     time.Time
}

// changed reports operations as they are now, in the order in which they were written.
func (s *Store) changed(elsewhere bool, list ...Operation) {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	for _, op := range list {
		last, known := s.changes.known[op.ID]
		now := stage{op.Stage(), time.Now()}
		if op.Action == "" || known && now.number <= last.number {
			continue
		}
		s.changes.known[op.ID] = now
		for _, waits := range s.changes.awaited[op.ID] {
			select {
			case waits <- op:
			default: // it has had its end
			}
		}
		if !op.ReachedAt.IsZero() && op.Action == lifecycle.Start {
			wake(s.stale)
		}
		if s.config.Changed != nil {
			s.config.Changed(op.receipt(), elsewhere)
		}
	}
}

// observe reports what other replicas write, and measures starts, until ctx ends.
func (s *Store) observe(ctx context.Context) {
	wake(s.stale)
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	var latest []int64 // sequence numbers of the looks within the overlap
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.stale:
			s.measureStarts(ctx)
			continue
		case now := <-tick.C:
			if s.estimate.Load() == nil {
				wake(s.stale)
			}
			s.changes.mu.Lock()
			for id, t := range s.changes.known {
				if now.Sub(t.at) > 2*overlap {
					delete(s.changes.known, id)
				}
			}
			s.changes.mu.Unlock()
		}
		if s.config.URL == "" {
			continue
		}
		if len(latest) == 0 { // what came before this process is no change
			list, err := s.list(ctx, `order by seq desc limit 1`)
			if err == nil {
				latest = append(latest, first(list).Sequence)
			}
			continue
		}
		list, err := s.list(ctx, `where seq > $1 or ended_at > 0 and ended_at > `+s.now()+` - $2 or reached_at > 0 and reached_at > `+s.now()+` - $2
			order by seq desc limit $3`, latest[0], overlap.Microseconds(), maxObserved)
		if err != nil {
			continue // the writer logs it
		}
		slices.Reverse(list)
		s.changed(true, list...)
		if len(list) > 0 {
			latest = append(latest, max(latest[len(latest)-1], list[len(list)-1].Sequence))
		} else {
			latest = append(latest, latest[len(latest)-1])
		}
		latest = slices.Delete(latest, 0, max(0, len(latest)-int(overlap/observeEvery)))
	}
}
