package middleware

import (
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

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
