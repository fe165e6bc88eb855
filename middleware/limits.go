package middleware

import (
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// limitedSubjects bounds the subjects whose pace is remembered. One that is
// forgotten starts over, so a flood of subjects costs no memory.
const limitedSubjects = 16384

// LimitSubject lets each subject make perSecond requests a second, as many of
// them at once, and refuses more with 429. It stands behind the authentication.
func LimitSubject(perSecond int) fiber.Handler {
	limiters := otter.Must(&otter.Options[string, *rate.Limiter]{MaximumSize: limitedSubjects})
	return func(c *fiber.Ctx) error {
		id := CallerIdentity(c)
		if id == nil {
			return errMissingToken
		}
		limiter, _ := limiters.ComputeIfAbsent(id.Subject, func() (*rate.Limiter, bool) {
			return rate.NewLimiter(rate.Limit(perSecond), perSecond), false
		})
		now := time.Now()
		reservation := limiter.ReserveN(now, 1)
		if wait := reservation.DelayFrom(now); wait > 0 {
			reservation.CancelAt(now)
			return tooManyRequests(wait)
		}
		return c.Next()
	}
}

func tooManyRequests(wait time.Duration) *Error {
	e := NewError(CodeTooManyRequests, "This account acts too often.")
	e.RetryAfter = wait
	return e
}

// busyRetryAfter is when a caller may try again while too many writes wait.
const busyRetryAfter = time.Second

// reasonBusy is what refusals by LimitWrites are counted as.
const reasonBusy = "writes_in_flight"

// LimitWrites lets at most limit requests at once through, and refuses more
// with 503: a write may wait long for its reply, and each holds memory and a
// place at the worker. Each handler that it returns counts for itself.
func LimitWrites(limit int) fiber.Handler {
	refusal := Unavailable(busyRetryAfter, "Too many operations are under way.", nil)
	refusal.Reason = reasonBusy
	var inFlight atomic.Int64
	return func(c *fiber.Ctx) error {
		defer inFlight.Add(-1)
		if inFlight.Add(1) > int64(limit) {
			return refusal
		}
		return c.Next()
	}
}
