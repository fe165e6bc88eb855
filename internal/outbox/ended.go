package outbox

import (
	"errors"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// errSlow is the error of Ended when the disk takes too long.
var errSlow = errors.New("the disk has not answered in time; the record is written when it does")

// ending is a terminal record on its way to disk. It stays queued until it is
// there, however often the disk refuses.
type ending struct {
	op     *operation
	record usage.Record
	// heldUntil is when the record may go at the earliest.
	heldUntil time.Time
	// done takes the result of the first attempt, once: see answer. Nil when
	// no caller waits.
	done     chan error
	answered bool
}

func (e *ending) answer(err error) {
	if e.done != nil && !e.answered {
		e.done <- err
	}
	e.answered = true
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
	e := &ending{
		record: usage.NewEnded(op, outcome, took, o.config.Now()),
		done:   make(chan error, 1),
	}
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
		return errors.Join(ErrCannotWrite, errSlow)
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
	o.endings = append(o.endings, e)
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
