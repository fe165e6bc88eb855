package outbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// job is one record on its way to the sender.
type job struct {
	op     *operation
	key    uint64
	round  int // of the pace, when it was picked
	record usage.Record
}

// deliver hands records to the sender, oldest first, those of one operation one
// after the other, several operations at a time. It returns when ctx ends and
// every Send has returned; an error means that the file is damaged.
func (o *Outbox) deliver(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var sends sync.WaitGroup
	defer func() {
		cancel()
		sends.Wait()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	damage := make(chan error, maxSending)
	for {
		jobs, wait := o.pick(time.Now())
		for _, j := range jobs {
			sends.Go(func() {
				if err := o.send(ctx, j); err != nil {
					damage <- err
				}
			})
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case err := <-damage:
			return err
		case <-o.wakeDelivery:
		case <-timer.C:
		}
	}
}

// pick takes what may be sent now and says how long nothing else is due, unless
// delivery is woken.
func (o *Outbox) pick(now time.Time) (jobs []job, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for op := o.waiting.first(); op != nil && !op.due.After(now); op = o.waiting.first() {
		op.unschedule()
		o.ready.add(op)
	}
	for free := o.pace.free(now); free > 0 && o.ready.first() != nil; free-- {
		op := o.ready.first()
		op.unschedule()
		key, at, _ := op.head()
		*at = sending
		op.handed = op.handed || op.requested == settled
		o.pace.sending++
		jobs = append(jobs, job{op: op, key: key, round: o.pace.round})
	}
	wait = idle
	if o.ready.first() != nil && now.Before(o.pace.pausedUntil) {
		wait = o.pace.pausedUntil.Sub(now)
	}
	if op := o.waiting.first(); op != nil {
		wait = min(wait, op.due.Sub(now))
	}
	return jobs, wait
}

// send delivers one record. A send that ctx cut short is not counted.
func (o *Outbox) send(ctx context.Context, j job) (damage error) {
	if j.record, damage = o.store.read(j.key); damage != nil {
		return damage
	}
	answer := o.config.Sender.Send(ctx, j.record)
	if answer != nil && ctx.Err() != nil {
		return nil // it stays marked as underway, and on disk for the next start
	}
	o.settle(j, answer)
	return nil
}

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
	done := settlement{key: j.key}
	switch {
	case answer == nil:
		// The place is free although the row is not deleted yet: at most
		// settleCount rows are in that state while the disk takes writes.
		o.room--
		o.count.delivered.Inc()
	case errors.Is(answer, usage.ErrRefused):
		o.parked++
		done.reason = answer.Error()[:min(len(answer.Error()), reasonBytes)]
		o.log.Error("a usage record was refused and is parked on disk",
			"event_id", j.record.EventID, "event_type", j.record.EventType, "cause", answer,
			"do", "settle the reason with the usage integration before the outbox is full of them; the next start offers them again")
	default:
		*at = waiting
		o.count.retries.Inc()
		o.retry(j, answer, now)
	}
	if *at == sending {
		o.settleAs(done, now)
		*at, j.op.attempts = settled, 0
		o.pace.succeeded()
	}
	o.plan(j.op, now)
	wake(o.wakeDelivery)
}

// settleAs hands s to the writer, which is in no hurry unless many gather.
func (o *Outbox) settleAs(s settlement, now time.Time) {
	if len(o.queue.settled) == 0 {
		o.settledAt = now
	}
	o.queue.settled = append(o.queue.settled, s)
	if n := len(o.queue.settled); n == 1 || n == settleCount {
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

// pace slows delivery down while the usage integration does not answer: after
// a failure everything pauses, then one record at a time tries, and the first
// answer opens the way for all again.
type pace struct {
	sending int
	// failures counts the rounds that failed in a row; a round is what was
	// sent before the last failure was known, so that 64 records failing
	// together are one.
	failures, round int
	pausedUntil     time.Time
}

func (p *pace) succeeded() {
	if p.failures > 0 {
		p.failures, p.pausedUntil = 0, time.Time{}
		p.round++
	}
}

// free is how many records may be sent now; none before pausedUntil.
func (p *pace) free(now time.Time) int {
	if now.Before(p.pausedUntil) {
		return 0
	}
	if p.failures > 0 {
		return max(0, 1-p.sending)
	}
	return maxSending - p.sending
}

// retry plans another attempt at the head of op. The record itself waits
// longer than the pause of all, so one that always fails is passed by others.
func (o *Outbox) retry(j job, cause error, now time.Time) {
	if j.round == o.pace.round {
		o.pace.round++
		o.pace.failures++
		o.pace.pausedUntil = now.Add(o.delay(o.pace.failures))
		if o.pace.failures == 1 {
			o.log.Warn("a usage record could not be delivered; it stays on disk and is sent again",
				"event_id", j.record.EventID, "cause", cause)
		}
	}
	j.op.attempts++
	j.op.retryAt = now.Add(o.delay(j.op.attempts))
	if j.op.retryAt.Before(o.pace.pausedUntil) {
		j.op.retryAt = o.pace.pausedUntil
	}
	j.op.retryAt = j.op.retryAt.Add(o.config.RetryMin)
}

// delay is how long to wait after so many failures in a row.
func (o *Outbox) delay(failures int) time.Duration {
	return backoff.Delay(failures-1, o.config.RetryMin, o.config.RetryMax, o.chance())
}
