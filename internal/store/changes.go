package store

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
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
	own     map[string]bool  // the ids of what this process commits now, which it reports itself
	known   map[string]stage // what Changed has had and a look may find again
	awaited map[string][]chan Operation
	// latest are the accepted operations of each action that may supersede one: no other
	// was requested and accepted later. It is written with mu.
	latest map[lifecycle.Action]*atomic.Pointer[[]lifecycle.Receipt]

	before atomic.Pointer[int64] // see Store.before
}

func newChanges() *changes {
	c := &changes{over: make(chan struct{}), known: map[string]stage{}, awaited: map[string][]chan Operation{}, latest: map[lifecycle.Action]*atomic.Pointer[[]lifecycle.Receipt]{}}
	for _, action := range []lifecycle.Action{lifecycle.Start, lifecycle.Stop} {
		c.latest[action] = &atomic.Pointer[[]lifecycle.Receipt]{}
		c.latest[action].Store(&[]lifecycle.Receipt{})
	}
	return c
}

// accepted notes what was accepted; it holds mu.
func (c *changes) accepted(r lifecycle.Receipt) {
	if r.Outcome != lifecycle.Accepted {
		return
	}
	last := c.latest[r.Action]
	later := func(a, b lifecycle.Receipt) bool {
		return a.Sequence >= b.Sequence && !a.AcceptedAt.Before(b.AcceptedAt)
	}
	if !slices.ContainsFunc(*last.Load(), func(other lifecycle.Receipt) bool { return later(other, r) }) {
		next := []lifecycle.Receipt{r}
		for _, other := range *last.Load() {
			if !later(r, other) {
				next = append(next, other)
			}
		}
		last.Store(&next)
	}
}

// superseded reports, at once, whether an operation that supersedes r is known.
func (c *changes) superseded(r lifecycle.Receipt) bool {
	return slices.ContainsFunc(*c.latest[r.Action.Opposite()].Load(), func(other lifecycle.Receipt) bool { return other.Supersedes(r) })
}

// Superseded reports whether an operation that supersedes r was accepted, by a process
// before this one as well. What cannot be read was not.
func (s *Store) Superseded(ctx context.Context, r lifecycle.Receipt) bool {
	_, _ = s.before(ctx)
	return s.changes.superseded(r)
}

// before notes, once, what was accepted before this process, and returns the sequence of
// the latest operation by then.
func (s *Store) before(ctx context.Context) (sequence int64, err error) {
	if known := s.changes.before.Load(); known != nil {
		return *known, nil
	}
	list, err := s.list(ctx, `order by seq desc limit $1`, recentOf)
	if err != nil {
		return 0, err
	}
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	for _, op := range list {
		s.changes.accepted(op.Receipt)
	}
	sequence = first(list).Sequence
	s.changes.before.Store(&sequence)
	return sequence, nil
}

// commits says what this process commits from now on; after it, nothing.
func (c *changes) commits(list []Operation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = map[string]bool{}
	for _, op := range list {
		c.own[op.ID] = true
	}
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
		if op.Action == "" || known && now.number <= last.number || elsewhere && s.changes.own[op.ID] {
			continue
		}
		s.changes.known[op.ID] = now
		s.changes.accepted(op.Receipt)
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
	type look struct {
		at       time.Time
		sequence int64 // of the latest operation
	}
	var looks []look // those within the overlap
	observe := func(now look) {
		if len(looks) == 0 { // what came before this process is no change
			sequence, err := s.before(ctx)
			if err != nil {
				return // the writer logs it
			}
			now.sequence = sequence
		} else if s.config.URL != "" {
			last := looks[len(looks)-1]
			away := max(now.at.Sub(last.at), now.at.Round(0).Sub(last.at.Round(0))) // the monotonic clock may have stood still
			list, err := s.list(ctx, `where seq > $1 or ended_at > 0 and ended_at > `+s.now()+` - $2 or reached_at > 0 and reached_at > `+s.now()+` - $2
				order by seq desc limit $3`, looks[0].sequence, (overlap + away).Microseconds(), maxObserved)
			if err != nil {
				return
			}
			now.sequence = max(last.sequence, first(list).Sequence)
			slices.Reverse(list)
			s.changed(true, list...)
		}
		looks = append(looks[max(0, len(looks)+1-int(overlap/observeEvery)):], now)
	}
	observe(look{at: time.Now()})
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.stale:
			s.measureStarts(ctx)
		case now := <-tick.C:
			if s.estimate.Load() == nil {
				wake(s.stale)
			}
			observe(look{at: now})
			s.changes.mu.Lock()
			maps.DeleteFunc(s.changes.known, func(_ string, told stage) bool { // what no look finds again
				return len(looks) > 0 && looks[0].at.Sub(told.at) > overlap
			})
			s.changes.mu.Unlock()
		}
	}
}
