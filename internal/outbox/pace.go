package outbox

import (
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

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
