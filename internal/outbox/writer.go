package outbox

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// batch is what one transaction takes along.
type batch struct {
	requests []*request
	endings  []*ending
	settled  []settlement
	orphans  []uint64
	// probe: write probe bytes too, because the last transaction failed.
	probe bool
}

// write is the writer: it alone changes the file. It takes everything that has
// gathered into one transaction, so what arrives while the disk syncs shares
// the next sync. A lone record waits for nothing, a crowd for a moment: see
// gather. When stop is closed it writes what is queued and returns. An error
// means that the file is damaged.
func (o *Outbox) write(stop <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for stopping := false; ; {
		b, wait := o.take(time.Now(), stopping)
		if b != nil {
			err := o.store.commit(b, o.config.Now())
			o.committed(b, err, time.Now())
			switch {
			case errors.Is(err, errDamaged):
				return err
			case err != nil && stopping:
				o.reportUnwritten()
				return nil
			}
			continue
		}
		if stopping {
			return nil
		}
		timer.Reset(wait)
		select {
		case <-o.wakeWriter:
		case <-timer.C:
		case <-stop:
			stopping = true
		}
	}
}

// take returns the next batch, or nil and how long nothing will be due unless
// the writer is woken. With hurry, nothing waits.
func (o *Outbox) take(now time.Time, hurry bool) (*batch, time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cause != nil && now.Before(o.probeAt) && !hurry {
		return nil, o.probeAt.Sub(now)
	}
	if wait := o.gather(now); wait > 0 && !hurry {
		return nil, wait
	}
	b := o.queue
	b.probe = o.cause != nil
	urgent := b.probe || len(b.requests)+len(b.endings)+len(b.orphans) > 0
	if !urgent && !hurry && len(b.settled) > 0 && len(b.settled) < settleCount {
		if wait := o.settledAt.Add(settleAfter).Sub(now); wait > 0 {
			return nil, wait
		}
	}
	if !urgent && len(b.settled) == 0 {
		return nil, idle
	}
	some := min(len(b.requests), maxRequests)
	o.queue = batch{requests: b.requests[some:]}
	b.requests = b.requests[:some:some]
	for _, r := range b.requests {
		r.taken = true
	}
	o.committing = now
	o.gathering = time.Time{}
	return &b, 0
}

// gather is how long the writer still waits for the rest of a crowd; not at all
// where there is none (see crowd). The caller holds mu.
func (o *Outbox) gather(now time.Time) time.Duration {
	queued := len(o.queue.requests) + len(o.queue.endings)
	underWay := o.open + len(o.queue.endings)
	if queued == 0 || underWay < crowd || 2*queued >= underWay || o.cause != nil {
		return 0
	}
	if o.gathering.IsZero() {
		o.gathering = now
	}
	return o.gathering.Add(gatherFor).Sub(now)
}

// committed brings the index in line with the disk and answers who waits.
func (o *Outbox) committed(b *batch, err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.committing = time.Time{}
	if err != nil {
		o.commitFailed(b, err, now)
		return
	}
	o.count.commits.Inc()
	o.count.writes.Add(len(b.requests) + len(b.endings))
	if o.cause != nil {
		o.log.Info("the usage outbox can write again", "dir", o.config.Dir)
	}
	o.cause = nil
	for _, r := range b.requests {
		o.began(r, now)
	}
	for _, e := range b.endings {
		o.ended(e, now)
	}
	wake(o.wakeDelivery)
}

// commitFailed keeps everything of b that must not be lost for the next try, and
// tells the callers that it is not on disk.
//
// A commit that failed in its last sync may be on disk all the same, so the
// operations it was to begin become orphans: the next commit deletes their
// rows, whether they exist or not. If the process dies first, the restart
// closes them like any open operation.
func (o *Outbox) commitFailed(b *batch, cause error, now time.Time) {
	o.count.failures.Inc()
	if o.cause == nil {
		o.log.Error("the usage outbox cannot write; start and stop are refused until it can", "dir", o.config.Dir, "cause", cause,
			"do", "free space on the disk of the data directory, or repair it: no restart is needed")
	}
	o.cause = cause
	o.probeAt = now.Add(probeEvery)
	o.queue.settled = append(b.settled, o.queue.settled...)
	o.queue.orphans = append(b.orphans, o.queue.orphans...)
	o.queue.endings = append(b.endings, o.queue.endings...)
	for _, r := range b.requests {
		o.queue.orphans = append(o.queue.orphans, r.op.number)
	}
	for _, r := range slices.Concat(b.requests, o.queue.requests) {
		o.forget(r.op)
		r.done <- o.cannotWrite()
	}
	o.queue.requests = nil
	for _, e := range o.queue.endings {
		e.answer(o.cannotWrite())
	}
}

func (o *Outbox) cannotWrite() error { return fmt.Errorf("%w: %w", ErrCannotWrite, o.cause) }

// reportUnwritten says what a stop leaves behind.
func (o *Outbox) reportUnwritten() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue.endings) == 0 {
		return
	}
	o.log.Error("usage outcomes could not be written before the stop", "dir", o.config.Dir, "operations", len(o.queue.endings), "cause", o.cause,
		"do", "free the disk before the next start, which closes their operations with an unknown outcome")
}
