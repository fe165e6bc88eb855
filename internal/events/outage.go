package events

import (
	"log/slog"
	"time"
)

// outage logs the loss of a stream once, however many attempts it takes to
// open it again. Its zero value is the time before the first attempt.
type outage struct{ since time.Time }

func (o *outage) log(logger *slog.Logger, event string, cause error, wait time.Duration) {
	why := clean(cause.Error(), maxMessage) // a broken server's bytes may be in it
	if !o.since.IsZero() {
		logger.Debug("events stream is still down", "event", event, "cause", why, "wait", wait)
		return
	}
	o.since = time.Now()
	logger.Warn("events stream is down, requests that need it are refused until it is back; check the Events API, its URL and the token",
		"event", event, "cause", why, "wait", wait)
}

func (o *outage) end(logger *slog.Logger, event string) {
	if o.since.IsZero() {
		logger.Debug("events stream is up", "event", event)
		return
	}
	logger.Info("events stream is up again", "event", event, "outage", time.Since(o.since).Round(time.Millisecond))
	o.since = time.Time{}
}
