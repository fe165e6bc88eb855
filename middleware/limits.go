package middleware

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// jsonSpace is the white space of JSON (RFC 8259 §2).
const jsonSpace = " \t\r\n"

var errBody = NewError(CodeBadRequest, "This request takes no parameters: send no body, or an empty JSON object.")

// EmptyBody refuses a request whose body is anything but nothing, white space
// or an empty JSON object, so that no caller assumes that a parameter had an effect.
func EmptyBody() fiber.Handler {
	return func(c *fiber.Ctx) error {
		if !isEmptyBody(c.Request().Body()) {
			return errBody
		}
		return c.Next()
	}
}

func isEmptyBody(body []byte) bool {
	body = bytes.Trim(body, jsonSpace)
	if last := len(body) - 1; last > 0 && body[0] == '{' && body[last] == '}' {
		body = bytes.Trim(body[1:last], jsonSpace)
	}
	return len(body) == 0
}

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
			return &Error{Code: CodeTooManyRequests, Message: "This account acts too often.", RetryAfter: wait}
		}
		return c.Next()
	}
}

const (
	// busyRetryAfter is when a caller may try again while too many writes wait.
	busyRetryAfter = time.Second
	// reasonBusy is what refusals by LimitWrites are counted as.
	reasonBusy = "writes_in_flight"
)

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
