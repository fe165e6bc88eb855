package events

import (
	"context"
	"sync"
	"time"
)

// maxDoubtPause bounds the pause between two doubts of a silent stream.
const maxDoubtPause = 15 * time.Minute

// doubts decides when a request without a reply speaks against its stream. A
// dead worker looks the same from here, so a stream that stays silent is
// doubted less and less often.
type doubts struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends the open connection; nil without one
	opened time.Time

	count int
	heard uint64    // what had been heard at the last doubt
	until time.Time // no further doubt before this, unless something is heard
}

func (d *doubts) begin(opened time.Time, cancel context.CancelCauseFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened, d.cancel = opened, cancel
}

func (d *doubts) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel = nil
}

// suspect says that a request of requestedAt found no reply in time, when
// heard was what the stream had heard at that time. If nothing came since, the
// stream may be half-open, and is opened again.
func (s *stream) suspect(requestedAt time.Time, heard uint64) {
	d := &s.doubts
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel == nil || d.opened.After(requestedAt) || s.heard.Load() != heard {
		return
	}
	if d.heard != heard {
		d.count, d.heard, d.until = 0, heard, time.Time{}
	}
	now := time.Now()
	if now.Before(d.until) {
		return
	}
	d.until = now.Add(s.delay(d.count, s.client.config.RetryMax, maxDoubtPause))
	d.count++
	d.cancel(errSuspected)
}
