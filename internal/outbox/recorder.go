package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// request is a Requested on its way to disk.
type request struct {
	op *operation
	// rows are its two rows, encoded outside the writer.
	requested, reserved []byte
	taken               bool // it is in the running transaction
	// abandoned is the terminal record if the caller left after that: it is
	// written and closed at once.
	abandoned *usage.Record
	done      chan error
}

// Requested puts the `requested` record of op on disk and reserves room for its
// terminal record. Nil means that both are safe and that the work may begin;
// Ended must follow.
//
// An error means that the work must not begin: ErrFull, ErrCannotWrite,
// ErrClosed or the error of ctx. Then no operation stays open: it was not
// written, or is taken back, or (ctx ended while it was written) is closed as
// `failed`, outcome not_sent. It keeps the strings of op, whose ID is new.
func (o *Outbox) Requested(ctx context.Context, op lifecycle.Operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := newRequest(op)
	if err != nil {
		return err
	}
	if err := o.admit(r); err != nil {
		return err
	}
	wake(o.wakeWriter)
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return o.giveUp(r, op, ctx.Err())
	}
}

func newRequest(op lifecycle.Operation) (*request, error) {
	unknown := usage.NewEnded(op, lifecycle.Unknown, 0, op.RequestedAt)
	requested, err := json.Marshal(row{Record: usage.NewRequested(op)})
	reserved, reservedErr := json.Marshal(row{Open: true, Record: unknown})
	if err := errors.Join(err, reservedErr); err != nil {
		return nil, fmt.Errorf("encode the usage record: %w", err)
	}
	return &request{op: &operation{id: op.ID}, requested: requested, reserved: reserved, done: make(chan error, 1)}, nil
}

// admit takes room for both records and queues r, or says why not.
func (o *Outbox) admit(r *request) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.usable(); err != nil {
		return err
	}
	if o.room+2 > o.config.MaxRecords {
		o.count.full.Inc()
		return fmt.Errorf("%w: %d of %d records wait, %d of them parked", ErrFull, o.room, o.config.MaxRecords, o.parked)
	}
	o.room += 2
	o.open++
	r.op.number = o.next
	o.next++
	o.byID[r.op.id] = r.op
	o.queue.requests = append(o.queue.requests, r)
	return nil
}

// giveUp stops waiting for r, unless its result is there.
func (o *Outbox) giveUp(r *request, op lifecycle.Operation, cause error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case err := <-r.done:
		return err
	default:
	}
	if !r.taken {
		o.queue.requests = slices.DeleteFunc(o.queue.requests, func(queued *request) bool { return queued == r })
		o.forget(r.op)
		return cause
	}
	now := o.config.Now()
	record := usage.NewEnded(op, lifecycle.NotSent, now.Sub(op.RequestedAt), now)
	r.abandoned = &record
	return cause
}

// forget drops an operation that is not on disk.
func (o *Outbox) forget(op *operation) {
	delete(o.byID, op.id)
	o.room -= 2
	o.open--
}

// began notes that the rows of r are on disk.
func (o *Outbox) began(r *request, now time.Time) {
	r.op.requested, r.op.requestedSince = waiting, now
	r.op.element = o.operations.PushBack(r.op)
	if r.abandoned != nil {
		o.queueEnd(&ending{op: r.op, record: *r.abandoned})
	}
	r.done <- nil
	o.plan(r.op, now)
}

// ending is a terminal record on its way to disk. It stays queued until it is
// there, however often the disk refuses.
type ending struct {
	op     *operation
	record usage.Record
	// heldUntil is when the record may go at the earliest.
	heldUntil time.Time
	// done has room for the result of the first attempt; nil when no caller
	// waits.
	done chan error
}

func (e *ending) answer(err error) {
	select {
	case e.done <- err:
	default:
	}
}

// Ended puts the terminal record of op on disk. Nil means that it is there.
//
// ErrCannotWrite means that it is not on disk yet: the outbox goes on trying,
// and if the process dies before it succeeds, the operation is closed with an
// unknown outcome instead.
//
// A record with an unknown outcome is held back for LateReply. Until it has
// been handed to the sender a later Ended replaces it; after that, and for
// every other operation that is not open, Ended changes nothing, counts and
// returns nil.
func (o *Outbox) Ended(op lifecycle.Operation, outcome lifecycle.Outcome, took time.Duration) error {
	e := &ending{record: usage.NewEnded(op, outcome, took, o.config.Now()), done: make(chan error, 1)}
	if outcome == lifecycle.Unknown {
		e.heldUntil = time.Now().Add(o.config.LateReply)
	}
	if queued, err := o.accept(op.ID, e); !queued {
		return err
	}
	wake(o.wakeWriter)
	waitLimit := time.NewTimer(endedWait)
	defer waitLimit.Stop()
	select {
	case err := <-e.done:
		return err
	case <-waitLimit.C:
		return fmt.Errorf("%w: the disk has not answered in time; the record is written when it does", ErrCannotWrite)
	}
}

// accept queues e. It returns false when there is nothing to wait for.
func (o *Outbox) accept(id string, e *ending) (queued bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, ErrClosed
	}
	e.op = o.byID[id]
	if e.op == nil || !e.op.takesEnd(e.record.Data.Outcome) {
		o.count.late.Inc()
		o.log.Info("a usage outcome came too late to be recorded",
			"event_id", e.record.EventID, "outcome", string(e.record.Data.Outcome))
		return false, nil
	}
	if e.op.outcome != "" {
		o.count.replaced.Inc()
	}
	if o.cause != nil {
		e.answer(o.cannotWrite())
	}
	o.queueEnd(e)
	return true, nil
}

// queueEnd queues e. Meanwhile the terminal record that may be on disk is not
// delivered, a `requested` one is.
func (o *Outbox) queueEnd(e *ending) {
	if e.op.outcome == "" && e.op.id != "" {
		o.open--
	}
	e.op.outcome = e.record.Data.Outcome
	e.op.writing++
	o.plan(e.op, time.Now())
	o.queue.endings = append(o.queue.endings, e)
}

// ended notes that the row of e is on disk.
func (o *Outbox) ended(e *ending, now time.Time) {
	op := e.op
	op.writing--
	op.terminal, op.terminalSince = waiting, now
	op.heldUntil = e.heldUntil
	e.answer(nil)
	o.plan(op, now)
}
