package outbox

import (
	"errors"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// settlement is a record that needs no more sending: acknowledged when reason
// is empty, parked otherwise.
type settlement struct {
	key    uint64
	reason string
}

// settle notes what the sender said about the head of op.
func (o *Outbox) settle(j job, answer error) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pace.sending--
	_, at, _ := j.op.head()
	switch {
	case answer == nil:
		// The place is free although the row is not deleted yet: at most
		// settleCount rows are in that state while the disk takes writes.
		o.room--
		o.count.delivered.Inc()
		o.settleAs(settlement{key: j.key}, now)
		*at = settled
		o.pace.succeeded()
	case errors.Is(answer, usage.ErrRefused):
		o.parked++
		o.log.Error("a usage record was refused and is parked on disk",
			"event_id", j.record.EventID, "event_type", j.record.EventType, "cause", answer,
			"do", "settle the reason with the usage integration before the outbox is full of them; the next start offers them again")
		reason := answer.Error()
		o.settleAs(settlement{key: j.key, reason: reason[:min(len(reason), reasonBytes)]}, now)
		*at = settled
		o.pace.succeeded()
	default:
		*at = waiting
		o.count.retries.Inc()
		o.retry(j, answer, now)
	}
	if *at == settled {
		j.op.attempts = 0
	}
	o.plan(j.op, now)
	wake(o.wakeDelivery)
}

// settleAs hands s to the writer, which is in no hurry unless many gather.
func (o *Outbox) settleAs(s settlement, now time.Time) {
	if len(o.settled) == 0 {
		o.settledAt = now
	}
	o.settled = append(o.settled, s)
	if n := len(o.settled); n == 1 || n == settleCount {
		wake(o.wakeWriter)
	}
}

// plan puts op where its state says: to the deliverable ones, to those that
// are later, nowhere (it is being sent, or is open), or out of the index.
func (o *Outbox) plan(op *operation, now time.Time) {
	op.unschedule()
	if op.requested == settled && op.terminal == settled {
		o.operations.Remove(op.element)
		if o.byID[op.id] == op {
			delete(o.byID, op.id)
		}
		return
	}
	if !op.deliverable() {
		return
	}
	op.due = op.retryAt
	if op.requested == settled && op.heldUntil.After(op.due) {
		op.due = op.heldUntil
	}
	if op.due.After(now) {
		o.waiting.add(op)
	} else {
		o.ready.add(op)
	}
}
