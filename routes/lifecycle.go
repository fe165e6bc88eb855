package routes

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// Recorder keeps the usage records of writes. Both methods return once the
// record is as durable as the recorder makes it.
type Recorder interface {
	// Requested records op before any work is done for it. After an error
	// nothing is recorded and op must not be carried out.
	Requested(ctx context.Context, op backend.Operation) error
	// Ended records how op ended, took after it was requested. An Unknown
	// outcome may be replaced by a later call; any other is final.
	Ended(op backend.Operation, outcome backend.Outcome, took time.Duration) error
}

// usageRetryAfter is when a caller may try again after usage failed.
const usageRetryAfter = 5 * time.Second

// lifecycle carries out one write: record the request, ask the runtime, record
// the end, answer. Nothing is asked of the runtime unless the request is
// recorded, and 202 is answered only when the end is recorded too.
func lifecycle(action backend.Action, config Config) fiber.Handler {
	accepted := []byte(`{"accepted":true,"action":"` + string(action) + `"}`)
	return func(c *fiber.Ctx) error {
		ctx, cancel := context.WithTimeout(c.UserContext(), config.Timeout)
		defer cancel()

		op := backend.Operation{
			ID:          uuid.NewString(),
			Action:      action,
			Account:     middleware.CallerIdentity(c).Subject,
			RequestID:   strings.Clone(middleware.RequestIDOf(c)),
			RequestedAt: time.Now(),
		}
		c.Locals(operationKey{}, &op)
		if err := carryOut(ctx, config, op); err != nil {
			return err
		}
		return sendJSON(c, fiber.StatusAccepted, accepted)
	}
}

// carryOut brackets the write between its two usage records.
func carryOut(ctx context.Context, config Config, op backend.Operation) (err error) {
	if config.Usage == nil {
		return config.Backend.Apply(ctx, op)
	}
	if err := config.Usage.Requested(ctx, op); err != nil {
		return apierror.UnavailableAfter(usageRetryAfter,
			"Usage cannot be recorded now, so nothing was done.", err)
	}
	op.Late = func(result error) {
		// The outbox keeps an end it cannot write and says so itself.
		_ = config.Usage.Ended(op, outcomeOf(result), time.Since(op.RequestedAt))
	}
	// Until Apply has returned, how it ends is unknown; so it stays if it panics.
	outcome := backend.Unknown
	defer func() {
		failed := config.Usage.Ended(op, outcome, time.Since(op.RequestedAt))
		if failed != nil && err == nil && outcome == backend.Accepted {
			unrecorded := apierror.UnavailableAfter(usageRetryAfter,
				"The runtime accepted, but the end of the operation could not be recorded yet.", failed)
			unrecorded.OutcomeUnknown = true
			err = unrecorded
		}
	}()
	err = config.Backend.Apply(ctx, op)
	outcome = outcomeOf(err)
	return err
}

// outcomeOf reads the outcome of a write off the error it ended with. What
// cannot be told apart is unknown.
func outcomeOf(err error) backend.Outcome {
	var e *apierror.Error
	switch {
	case err == nil:
		return backend.Accepted
	case !errors.As(err, &e) || e.OutcomeUnknown:
		return backend.Unknown
	case e.HTTPStatus() == fiber.StatusServiceUnavailable: // its code may be an integration's word
		return backend.NotSent
	}
	return backend.Rejected
}
