package outbox

import (
	"errors"
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
	// unprobe: delete the probe bytes of an earlier one.
	unprobe bool
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
	b := &batch{probe: o.cause != nil, unprobe: o.probed}
	b.requests = o.takeRequests()
	urgent := b.probe || len(b.requests)+len(o.endings)+len(o.orphans) > 0
	if !urgent && !hurry && len(o.settled) < settleCount {
		if len(o.settled) == 0 {
			return nil, idle
		}
		if wait := o.settledAt.Add(settleAfter).Sub(now); wait > 0 {
			return nil, wait
		}
	}
	if !urgent && len(o.settled) == 0 {
		return nil, idle
	}
	b.endings, o.endings = o.endings, nil
	b.settled, o.settled = o.settled, nil
	b.orphans, o.orphans = o.orphans, nil
	o.committing = now
	o.gathering = time.Time{}
	return b, 0
}

// gather is how long the writer still waits for the rest of a crowd; not at all
// where there is none (see crowd). The caller holds mu.
func (o *Outbox) gather(now time.Time) time.Duration {
	queued := len(o.requests) + len(o.endings)
	underWay := o.open + len(o.endings)
	if queued == 0 || underWay < crowd || 2*queued >= underWay || o.cause != nil {
		return 0
	}
	if o.gathering.IsZero() {
		o.gathering = now
	}
	return o.gathering.Add(gatherFor).Sub(now)
}

// takeRequests returns the oldest requests that are not withdrawn.
func (o *Outbox) takeRequests() []*request {
	var some []*request
	for len(o.requests) > 0 && len(some) < maxRequests {
		r := o.requests[0]
		o.requests[0] = nil
		o.requests = o.requests[1:]
		if r.state == queued {
			r.state = taken
			some = append(some, r)
		}
	}
	return some
}

// committed brings the index in line with the disk and answers who waits.
func (o *Outbox) committed(b *batch, err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.committing = time.Time{}
	if err != nil {
		o.refused(b, err, now)
		return
	}
	o.count.commits.Inc()
	o.count.writes.Add(len(b.requests) + len(b.endings))
	if o.cause != nil {
		o.log.Info("the usage outbox can write again", "dir", o.config.Dir)
	}
	o.cause = nil
	o.probed = b.probe
	for _, r := range b.requests {
		o.began(r, now)
	}
	for _, e := range b.endings {
		o.ended(e, now)
	}
	wake(o.wakeDelivery)
}
