package outbox

import (
	"context"
	"sync"
	"time"

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
