package outbox

import (
	"fmt"
	"time"
)

// Healthy returns nil while the outbox takes writes, else why not: it is
// closed, the disk refused the last write, or has been busy with one for long.
// A full outbox is healthy: the usage integration is what is not.
func (o *Outbox) Healthy() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrClosed
	case o.cause != nil:
		return o.cannotWrite()
	case !o.committing.IsZero() && time.Since(o.committing) > stallAfter:
		return fmt.Errorf("%w: the disk has been busy with one write for %s",
			ErrCannotWrite, time.Since(o.committing).Round(time.Second))
	}
	return nil
}

// Stats is a snapshot of what the outbox holds.
type Stats struct {
	// Records counts places of MaxRecords: undelivered records, the room of
	// terminal records to come, and Parked.
	Records int
	// Parked counts records that the usage integration refused.
	Parked int
	// OldestAge is how long the oldest record has waited that could be
	// delivered now or is being retried.
	OldestAge time.Duration
}

// Stats returns the current figures.
func (o *Outbox) Stats() Stats {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Stats{Records: o.room, Parked: o.parked}
	for e := o.operations.Front(); e != nil; e = e.Next() {
		op := e.Value.(*operation)
		_, at, since := op.head()
		held := op.requested == settled && now.Before(op.heldUntil)
		if *at == sending || op.deliverable() && !held {
			s.OldestAge = now.Sub(since)
			break
		}
	}
	return s
}
