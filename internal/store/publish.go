package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// ErrTooLate: a permit has ended. The operation was not sent, and never will be.
var ErrTooLate = errors.New("too late to send the operation")

// Meet returns the operation of another write that w has by its key, or by being of
// the account of a start that is under way. Where there is none it is New, and
// nothing was written. After an error without ErrUnconfirmed nothing was, either.
func (s *Store) Meet(ctx context.Context, w Write) (lifecycle.Decided, error) {
	got, err := submit(ctx, s, call{order: orderOf(w)}, func(t *tx) (got decided, err error) {
		got.decision, got.operation, err = t.meet(w)
		return got, err
	})
	return lifecycle.Decided{Decision: got.decision, Receipt: got.operation.receipt()}, err
}

// Begin decides what becomes of w: of a Lead, Ended must follow. After an error
// nothing is published, and nothing was written but for an ErrUnconfirmed.
func (s *Store) Begin(ctx context.Context, w Write) (lifecycle.Decided, error) {
	began := time.Now()
	d, op, err := s.Insert(ctx, w)
	return s.permit(began, w.ID, d, op, err)
}

// Again decides for one that has joined, and whose leader was not sent, while its
// caller waits. After an error it is not published, and ends so unless it has the end
// of another leader.
func (s *Store) Again(ctx context.Context, id string) (lifecycle.Decided, error) {
	began := time.Now()
	d, op, err := s.Decide(ctx, id)
	if err != nil && !errors.Is(err, ErrUnconfirmed) {
		s.note(id, abandoned, End{})
	}
	return s.permit(began, id, d, op, err)
}

// permit gives the permission to publish what leads since a call that began then.
func (s *Store) permit(began time.Time, id string, d Decision, op Operation, err error) (lifecycle.Decided, error) {
	switch {
	case errors.Is(err, ErrUnconfirmed):
		s.note(id, abandoned, End{})
		return lifecycle.Decided{}, err
	case err != nil:
		return lifecycle.Decided{}, err
	case d == Lead && op.Outcome != "":
		return lifecycle.Decided{}, fmt.Errorf("%w: the operation has ended before it began", ErrUnavailable)
	case d != Lead:
		return lifecycle.Decided{Decision: d, Receipt: op.receipt()}, nil
	}
	s.countUnderWay(1)
	return lifecycle.Decided{Decision: d, Receipt: op.receipt(), Permit: func() error {
		// The monotonic clock stands still while the machine is suspended, the wall
		// clock may be set: both must say that it is early.
		passed, wall := time.Since(began), time.Now().Round(0).Sub(began.Round(0))
		if passed > permission || wall > permission || wall < -permission {
			return fmt.Errorf("%w: %s have passed since it was recorded", ErrTooLate, max(passed, wall).Round(time.Millisecond))
		}
		return nil
	}}, nil
}

func (s *Store) countUnderWay(change int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay += change
}

// Ended writes the end that the process of a Lead knows of, took after the request,
// with what the runtime said, and returns the operation as the store has it, which may
// have its end from another process. An unknown outcome leaves it open: a reply that
// comes later settles it, or it ends when its time is over. After an error the end is
// written as soon as the store takes it.
func (s *Store) Ended(id string, outcome lifecycle.Outcome, said error, took time.Duration) (lifecycle.Receipt, error) {
	defer s.countUnderWay(-1)
	e := abandoned
	switch outcome {
	case lifecycle.Accepted:
		e = replyYes
	case lifecycle.Rejected:
		e = replyNo
	case lifecycle.Unknown:
		return lifecycle.Receipt{ID: id, Outcome: outcome}, nil
	}
	how := endOf(said)
	how.Took = took
	op, err := s.end(context.Background(), id, e, how)
	return op.receipt(), err
}

// endOf is what a rejection says.
func endOf(rejection error) (how End) {
	var told *lifecycle.Error
	if errors.As(rejection, &told) && told.Kind == lifecycle.Rejection {
		how.ErrorType, how.ErrorMessage = told.Type, told.Message
	}
	return how
}

// ErrOver: no call waits for operations any more.
var ErrOver = errors.New("the gateway is ending")

// Await returns the operation with that id as soon as it has an end, or leader was
// not sent, where that is the id of the one that it joined; and as it is when ctx
// ends, with an error.
func (s *Store) Await(ctx context.Context, id, leader string) (lifecycle.Receipt, error) {
	changed, leave := s.changes.await(id, leader)
	defer leave()
	op, err := s.Find(ctx, id)
	if err == nil && op.Outcome == "" && leader != "" {
		var of Operation
		if of, err = s.Find(ctx, leader); of.Outcome == lifecycle.NotSent {
			return op.receipt(), err
		}
		if err == nil && of.Outcome != "" { // and so has op, since it was read
			op, err = s.Find(ctx, id)
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
			err = ErrOver
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return op.receipt(), err
}

// EndWaits ends every Await when ctx does: no process tells of a reply any more.
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

// Receipt returns the operation with that id; none where there is none.
func (s *Store) Receipt(ctx context.Context, id string) (lifecycle.Receipt, error) {
	op, err := s.Find(ctx, id)
	return op.receipt(), err
}

// Receipts returns the latest operations of an account, newest first.
func (s *Store) Receipts(ctx context.Context, account string, limit int) (list []lifecycle.Receipt, err error) {
	operations, err := s.List(ctx, account, limit)
	for _, op := range operations {
		list = append(list, op.receipt())
	}
	return list, err
}

// times is how long the last starts took, by the provider of the latest one.
type times struct {
	stale  chan struct{} // has room for one signal
	latest atomic.Pointer[providerTimes]
}

type providerTimes struct {
	provider string
	lifecycle.Estimate
}

// measureStarts reads the times again.
func (s *Store) measureStarts(ctx context.Context) {
	provider, list, err := s.StartTimes(ctx, lifecycle.MaxTimes)
	if err != nil {
		s.times.latest.Store(nil) // until the next look
		return
	}
	s.times.latest.Store(&providerTimes{provider, lifecycle.NewEstimate(list)})
}

// Estimate is how long a start by provider takes; that of the latest start where it
// is empty. It does not wait for the store: there is none for another provider until
// a start of its own was seen ready.
func (s *Store) Estimate(provider string) lifecycle.Estimate {
	latest := s.times.latest.Load()
	if latest == nil || provider != "" && provider != latest.provider {
		return lifecycle.Estimate{}
	}
	return latest.Estimate
}

// Settle writes what the worker said about the operation with that id, which may
// be that of any process, or none: yes, or a rejection. It returns at once, but for
// a reply from the history, which is looked up first.
func (s *Store) Settle(id string, rejection error, replayed bool) {
	if !isID(id) {
		return // of another component
	}
	e := replyYes
	if rejection != nil {
		e = replyNo
	}
	if replayed { // most are known, and there may be many
		if op, err := s.Find(context.Background(), id); err == nil {
			if to, _ := s.next(op.state(), e); to == op.state() {
				return
			}
		}
	}
	s.note(id, e, endOf(rejection))
}

// note writes an event of an operation without waiting for it.
func (s *Store) note(id string, e event, how End) {
	s.keep(call{order: "0" + id}, func(t *tx) error {
		_, err := t.end(id, e, how)
		return err
	})
}

// Insert decides what becomes of w. After ErrUnavailable without ErrUnconfirmed
// nothing was written. With ErrUnconfirmed, Abandon must follow.
func (s *Store) Insert(ctx context.Context, w Write) (d Decision, op Operation, err error) {
	got, err := submit(ctx, s, call{order: orderOf(w)}, func(t *tx) (got decided, err error) {
		got.decision, got.operation, err = t.insert(w)
		return got, err
	})
	return got.decision, got.operation, err
}

// orderOf is where w is in the order of locks.
func orderOf(w Write) string {
	order := "1" + w.Account + "\x00" + w.Key
	if w.Action == lifecycle.Start {
		order = "2" + order // with the start slot
	}
	return order
}

type decided struct {
	decision  Decision
	operation Operation
}

func (s *Store) end(ctx context.Context, id string, e event, how End) (Operation, error) {
	return submit(ctx, s, call{order: "0" + id, kept: true}, func(t *tx) (Operation, error) { return t.end(id, e, how) })
}

// Decide is for an operation that joined and whose leader was not sent, while its
// caller waits: it leads now, has joined another, or has ended.
func (s *Store) Decide(ctx context.Context, id string) (d Decision, op Operation, err error) {
	got, err := submit(ctx, s, call{order: "2" + id}, func(t *tx) (got decided, err error) {
		got.decision, got.operation, err = t.decide(id)
		return got, err
	})
	return got.decision, got.operation, err
}

// Reached notes that provider was in the target state of action in a status that
// was asked for that long ago.
func (s *Store) Reached(ctx context.Context, action lifecycle.Action, provider string, ago time.Duration) error {
	return s.do(ctx, call{order: "2"}, func(t *tx) error { return t.reached(action, provider, ago) })
}
