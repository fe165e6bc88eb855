package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// request is a Requested on its way to disk.
type request struct {
	op *operation
	// rows are its two rows, encoded outside the writer.
	requested, reserved []byte
	state               requestState
	// abandoned is the terminal record if the caller leaves while the commit
	// runs.
	abandoned usage.Record
	done      chan error
}

type requestState int

const (
	queued    requestState = iota
	taken                  // in the running transaction
	withdrawn              // the caller left before it was taken: never written
	abandoned              // the caller left afterwards: written and closed at once
)

// Requested puts the `requested` record of op on disk and reserves room for its
// terminal record. Nil means that both are safe and that the work may begin;
// Ended must follow.
//
// An error means that the work must not begin: ErrFull, ErrCannotWrite,
// ErrClosed, ErrDuplicate or the error of ctx. Then no operation stays open: it
// was not written, or is taken back, or (ctx ended while it was written) is
// closed as `failed`, outcome not_sent. It keeps the strings of op.
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
	requested, err := json.Marshal(row{Record: usage.NewRequested(op)})
	if err != nil {
		return nil, fmt.Errorf("encode the usage record: %w", err)
	}
	unknown := usage.NewEnded(op, lifecycle.Unknown, 0, op.RequestedAt)
	reserved, err := json.Marshal(row{Open: true, Record: unknown})
	if err != nil {
		return nil, fmt.Errorf("encode the usage record: %w", err)
	}
	if max(len(requested), len(reserved)) > maxRow/2 {
		return nil, fmt.Errorf("the usage record has %d bytes", len(reserved))
	}
	return &request{
		op:        &operation{id: op.ID},
		requested: requested,
		reserved:  reserved,
		done:      make(chan error, 1),
	}, nil
}

// admit takes room for both records and queues r, or says why not.
func (o *Outbox) admit(r *request) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrClosed
	case o.cause != nil:
		return o.cannotWrite()
	case o.byID[r.op.id] != nil:
		return ErrDuplicate
	case o.room+2 > o.config.MaxRecords:
		o.count.full.Inc()
		return fmt.Errorf("%w: %d of %d records wait, %d of them parked", ErrFull, o.room, o.config.MaxRecords, o.parked)
	}
	o.room += 2
	o.open++
	r.op.number = o.next
	o.next++
	o.byID[r.op.id] = r.op
	o.requests = append(o.requests, r)
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
	if r.state == queued {
		r.state = withdrawn
		o.forget(r.op)
		return cause
	}
	r.state = abandoned
	took := o.config.Now().Sub(op.RequestedAt)
	r.abandoned = usage.NewEnded(op, lifecycle.NotSent, took, o.config.Now())
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
	if r.state == abandoned {
		o.queueEnd(&ending{op: r.op, record: r.abandoned})
	}
	r.done <- nil
	o.plan(r.op, now)
}
