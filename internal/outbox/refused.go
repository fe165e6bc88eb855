package outbox

import (
	"fmt"
	"slices"
	"time"
)

// refused keeps everything of b that must not be lost for the next try, and
// tells the callers that it is not on disk.
//
// A commit that failed in its last sync may be on disk all the same, so the
// operations it was to begin become orphans: the next commit deletes their
// rows, whether they exist or not. If the process dies first, the restart
// closes them like any open operation.
func (o *Outbox) refused(b *batch, cause error, now time.Time) {
	o.count.failures.Inc()
	if o.cause == nil {
		o.log.Error("the usage outbox cannot write; start and stop are refused until it can", "dir", o.config.Dir, "cause", cause,
			"do", "free space on the disk of the data directory, or repair it: no restart is needed")
	}
	o.cause = cause
	o.probeAt = now.Add(probeEvery)
	o.settled = append(b.settled, o.settled...)
	o.orphans = append(b.orphans, o.orphans...)
	o.endings = append(b.endings, o.endings...)
	for _, r := range b.requests {
		o.orphans = append(o.orphans, r.op.number)
	}
	for _, r := range slices.Concat(b.requests, o.requests) {
		if r.state != withdrawn {
			o.forget(r.op)
			r.done <- o.cannotWrite()
		}
	}
	o.requests = nil
	for _, e := range o.endings {
		e.answer(o.cannotWrite())
	}
}

func (o *Outbox) cannotWrite() error { return fmt.Errorf("%w: %w", ErrCannotWrite, o.cause) }

// reportUnwritten says what a stop leaves behind.
func (o *Outbox) reportUnwritten() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.endings) == 0 {
		return
	}
	o.log.Error("usage outcomes could not be written before the stop", "dir", o.config.Dir, "operations", len(o.endings), "cause", o.cause,
		"do", "free the disk before the next start, which closes their operations with an unknown outcome")
}
