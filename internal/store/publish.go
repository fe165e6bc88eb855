package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// Meet is that of routes.Operations.
func (s *Store) Meet(ctx context.Context, w lifecycle.Write) (lifecycle.Decided, error) {
	return s.permit(ctx, orderOf(w), func(t *tx) decided { return t.meet(w) })
}

// Begin is that of routes.Operations. Ended must follow each Lead. After an error that is
// not ErrUnconfirmed nothing was written.
func (s *Store) Begin(ctx context.Context, w lifecycle.Write) (lifecycle.Decided, error) {
	d, err := s.permit(ctx, orderOf(w), func(t *tx) decided { return t.insert(w) })
	if errors.Is(err, lifecycle.ErrUnconfirmed) {
		s.note(w.ID, abandoned, End{})
	}
	return d, err
}

// Again is that of routes.Operations: for an operation that joined and whose leader was
// not sent, while its caller waits. It leads now, has joined another, or has ended; after
// an error it ends so, unless it has the end of another leader.
func (s *Store) Again(ctx context.Context, id string) (lifecycle.Decided, error) {
	d, err := s.permit(ctx, atSlot+id, func(t *tx) decided { return t.decide(id) })
	if err != nil {
		s.note(id, abandoned, End{})
	}
	return d, err
}

// orderOf is where w is in the order of locks.
func orderOf(w lifecycle.Write) string {
	order := atKey + w.Account + "\x00" + w.Key
	if w.Action == lifecycle.Start {
		order = atSlot + order
	}
	return order
}

// permit runs do in a transaction. A Lead has the permission to publish, which counts from
// when that began.
func (s *Store) permit(ctx context.Context, order string, do func(*tx) decided) (lifecycle.Decided, error) {
	began := time.Now()
	got, err := submit(ctx, s, call{order: order}, do)
	switch err = cmp.Or(err, got.refused); {
	case err != nil:
		return lifecycle.Decided{}, err
	case got.Decision == lifecycle.Lead && got.Outcome != "":
		return lifecycle.Decided{}, fmt.Errorf("%w: the operation has ended before it began", ErrUnavailable)
	case got.Decision != lifecycle.Lead:
		return lifecycle.Decided{Decision: got.Decision, Receipt: got.receipt()}, nil
	}
	s.underWay.Add(1)
	return lifecycle.Decided{Decision: got.Decision, Receipt: got.receipt(), Permit: func() error {
		// The monotonic clock stands still while the machine is suspended, the wall
		// clock may be set: both must say that it is early.
		passed, wall := time.Since(began), time.Now().Round(0).Sub(began.Round(0))
		if passed > permission || wall > permission || wall < -permission {
			return fmt.Errorf("too late to send the operation: %s have passed since it was recorded", max(passed, wall).Round(time.Millisecond))
		}
		return nil
	}}, nil
}

// Ended is that of routes.Operations. An unknown outcome leaves the operation open: a
// reply that comes later settles it, or it ends when its time is over.
func (s *Store) Ended(id string, outcome lifecycle.Outcome, said error, took time.Duration) (lifecycle.Receipt, error) {
	defer s.underWay.Add(-1)
	if outcome == lifecycle.Unknown {
		return lifecycle.Receipt{ID: id, Outcome: outcome}, nil
	}
	how := endOf(said)
	how.Took = took
	e := map[lifecycle.Outcome]event{lifecycle.Accepted: replyYes, lifecycle.Rejected: replyNo, lifecycle.NotSent: abandoned}[outcome]
	op, err := s.end(context.Background(), id, e, how)
	return op.receipt(), err
}

// endOf is what a rejection says.
func endOf(rejection error) (how End) {
	if said, ok := errors.AsType[*lifecycle.Error](rejection); ok && said.Kind == lifecycle.Rejection {
		how.ErrorType, how.ErrorMessage = said.Type, said.Message
	}
	return how
}

// errOver: no call waits for operations any more.
var errOver = errors.New("the gateway is ending")

// Await is that of routes.Operations. When ctx ends it returns the operation as it
// is, with an error.
func (s *Store) Await(ctx context.Context, id, leader string) (lifecycle.Receipt, error) {
	changed, leave := s.changes.await(id, leader)
	defer leave()
	op, err := s.find(ctx, id)
	if err == nil && op.Outcome == "" && leader != "" {
		var of Operation
		if of, err = s.find(ctx, leader); of.Outcome == lifecycle.NotSent {
			return op.receipt(), err
		}
	}
	for err == nil && op.Outcome == "" {
		select {
		case now := <-changed:
			switch {
			case now.ID == id:
				op = now
			case now.Outcome == lifecycle.NotSent:
				return op.receipt(), nil
			}
		case <-s.changes.over:
			err = errOver
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return op.receipt(), err
}

// EndWaits ends every Await when ctx does: from then on no reply is received.
func (s *Store) EndWaits(ctx context.Context) error {
	<-ctx.Done()
	close(s.changes.over)
	return nil
}

// await yields each change of some operations until it is left.
func (c *changes) await(ids ...string) (changed chan Operation, leave func()) {
	changed = make(chan Operation, 8) // an operation changes four times at most
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		c.awaited[id] = append(c.awaited[id], changed)
	}
	return changed, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, id := range ids {
			if c.awaited[id] = slices.DeleteFunc(c.awaited[id], func(each chan Operation) bool { return each == changed }); len(c.awaited[id]) == 0 {
				delete(c.awaited, id)
			}
		}
	}
}

// Settle writes what the worker said about the operation with that id, which may
// be that of any process, or none: yes, or a rejection. It returns at once, but for
// a reply from the history, which is looked up first: news, which is nil for any other,
// is called before anything is written that was not known.
func (s *Store) Settle(id string, rejection error, news func()) {
	if !isID(id) {
		return // of another component
	}
	e := replyYes
	if rejection != nil {
		e = replyNo
	}
	if news != nil { // most are known, and there may be many
		if op, err := s.find(context.Background(), id); err == nil {
			if to, _ := s.next(op.state(), e); to == op.state() {
				return
			}
		}
		news()
	}
	s.note(id, e, endOf(rejection))
}

// note writes an event of an operation without waiting for it.
func (s *Store) note(id string, e event, how End) {
	s.keep(call{order: atOperation + id}, func(t *tx) { t.end(id, e, how) })
}

func (s *Store) end(ctx context.Context, id string, e event, how End) (Operation, error) {
	return submit(ctx, s, call{order: atOperation + id, kept: true}, func(t *tx) Operation { return t.end(id, e, how) })
}

// Reached notes that provider was in the target state of action in a status that
// was asked for that long ago.
func (s *Store) Reached(ctx context.Context, action lifecycle.Action, provider string, ago time.Duration) error {
	return s.do(ctx, call{order: atSlot}, func(t *tx) { t.reached(action, provider, ago) })
}

// Stopped notes that a stop of another requester was accepted at that time: no start
// joins one that was requested before it any more. It returns at once.
func (s *Store) Stopped(at time.Time) {
	s.keep(call{order: atSlot}, func(t *tx) {
		t.exec(`update operations set slot = 0 where slot = 1 and requested_at < $1`, t.ago(time.Since(at)))
	})
}

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
	// was requested and accepted later. It has a lock of its own, since Changed asks for it.
	latestMu sync.Mutex
	latest   map[lifecycle.Action][]lifecycle.Receipt
}

func newChanges() *changes {
	return &changes{
		over: make(chan struct{}), known: map[string]stage{}, awaited: map[string][]chan Operation{},
		latest: map[lifecycle.Action][]lifecycle.Receipt{},
	}
}

// accepted notes r, if it was accepted.
func (c *changes) accepted(r lifecycle.Receipt) {
	if r.Outcome != lifecycle.Accepted {
		return
	}
	later := func(a, b lifecycle.Receipt) bool {
		return a.Sequence >= b.Sequence && !a.AcceptedAt.Before(b.AcceptedAt)
	}
	c.latestMu.Lock()
	defer c.latestMu.Unlock()
	latest := c.latest[r.Action]
	if !slices.ContainsFunc(latest, func(other lifecycle.Receipt) bool { return later(other, r) }) {
		earlier := func(other lifecycle.Receipt) bool { return later(r, other) }
		c.latest[r.Action] = append(slices.DeleteFunc(latest, earlier), r)
	}
}

// Superseded reports, at once, whether an operation that supersedes r is known. Those of
// before this process are, soon after its begin.
func (s *Store) Superseded(r lifecycle.Receipt) bool {
	c := s.changes
	c.latestMu.Lock()
	defer c.latestMu.Unlock()
	return slices.ContainsFunc(c.latest[r.Action.Opposite()], func(other lifecycle.Receipt) bool { return other.Supersedes(r) })
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
			if known { // looks find it as long as the clock of the database is behind its time
				s.changes.known[op.ID] = stage{last.number, now.at}
			}
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
	var looks []look // those within the overlap: operations are looked for from the oldest on
	observe := func(now look) {
		if len(looks) == 0 { // what came before this process is no change
			list, err := s.list(ctx, `order by seq desc limit $1`, recentOf)
			if err != nil {
				return // the writer logs it
			}
			for _, op := range list {
				s.changes.accepted(op.Receipt)
			}
			now.sequence = first(list).Sequence
		} else if s.config.URL != "" {
			last := looks[len(looks)-1]
			away := max(now.at.Sub(last.at), now.at.Round(0).Sub(last.at.Round(0))) // the monotonic clock may have stood still
			// Each part reads the end of an index, whatever the planner expects.
			after := func(column, value string) string {
				return fmt.Sprintf(`(select %[1]s from operations where %[2]s > 0 and %[2]s > %[3]s order by %[2]s desc limit $3)`, operationColumns, column, value)
			}
			list, err := read(ctx, s, scanOperation, after("seq", "$1")+` union all `+after("ended_at", s.now()+" - $2")+` union all `+
				after("reached_at", s.now()+" - $2")+` order by seq desc limit $3`, looks[0].sequence, (overlap + away).Microseconds(), maxObserved)
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
