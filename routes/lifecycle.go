package routes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
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

// operationKey is where execute leaves the *backend.Operation for the audit line.
type operationKey struct{}

// errPanicked is how a write ended that never returned.
var errPanicked = errors.New("panic")

// writes carries out the starts, or the stops.
type writes struct {
	Config
	action backend.Action
}

// audited runs before the checks, so that what they refuse has an audit line
// too.
func (w *writes) audited(c *fiber.Ctx) (err error) {
	err = errPanicked
	defer func() { w.audit(c, err) }()
	return c.Next()
}

// checked runs after the checks of the caller and of the request: from here on
// a failure says what became of the write.
func checked(c *fiber.Ctx) error {
	middleware.SetOutcome(c, backend.NotSent)
	return c.Next()
}

// reach refuses a write that could not be sent now, before billing is asked or
// anything is recorded for it.
func (w *writes) reach(c *fiber.Ctx) error {
	if err := w.Backend.Reach(c.UserContext(), w.action); err != nil {
		return err
	}
	return c.Next()
}

// execute records the request, asks the runtime, records the end and answers.
// Nothing is asked of the runtime unless the request is recorded, and 202 is
// answered only when the end is recorded too.
func (w *writes) execute(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), w.Timeout)
	defer cancel()
	op := backend.Operation{
		ID:          uuid.NewString(),
		Action:      w.action,
		Account:     middleware.CallerIdentity(c).Subject,
		RequestID:   strings.Clone(middleware.RequestIDOf(c)),
		RequestedAt: time.Now(),
	}
	c.Locals(operationKey{}, &op)
	if w.Usage != nil {
		if err := w.Usage.Requested(ctx, op); err != nil {
			return middleware.Unavailable(0, "Usage cannot be recorded now, so nothing was done.", err)
		}
		op.Late = func(outcome backend.Outcome) {
			// The outbox keeps an end it cannot write and says so itself.
			_ = w.Usage.Ended(op, outcome, time.Since(op.RequestedAt))
		}
	}
	if err := w.apply(ctx, c, op); err != nil {
		return err
	}
	return sendJSON(c, fiber.StatusAccepted, []byte(`{"accepted":true,"action":"`+w.action+`"}`))
}

// apply asks the runtime and records the end. Until the runtime has answered
// the outcome is unknown, and so it stays if that panics.
func (w *writes) apply(ctx context.Context, c *fiber.Ctx, op backend.Operation) (err error) {
	outcome := backend.Unknown
	defer func() {
		if w.Usage != nil {
			unrecorded := w.Usage.Ended(op, outcome, time.Since(op.RequestedAt))
			if unrecorded != nil && outcome == backend.Accepted {
				outcome = backend.Unknown
				err = middleware.Unavailable(0, "The runtime accepted, but the end of the operation could not be recorded yet.", unrecorded)
			}
		}
		middleware.SetOutcome(c, outcome)
	}()
	told, err := w.Backend.Apply(ctx, op)
	if !told.Known() || (err == nil) != (told == backend.Accepted) {
		return fmt.Errorf("BUG: the backend returned the outcome %q with the error: %v", told, err)
	}
	outcome = told
	return err
}

// audit logs one line for each write of an authenticated caller, whatever
// became of it, a panic included. Callers without a token could fill the log,
// so theirs is the refusal metric.
func (w *writes) audit(c *fiber.Ctx, err error) {
	caller := middleware.CallerIdentity(c)
	if caller == nil {
		return
	}
	op, begun := c.Locals(operationKey{}).(*backend.Operation)
	line := []slog.Attr{
		slog.String("request_id", strings.Clone(middleware.RequestIDOf(c))),
		slog.String("subject", caller.Subject),
		slog.String("action", string(w.action)),
		slog.String("result", result(c, begun, err)),
		slog.Duration("duration", time.Since(c.Context().Time())),
	}
	if err != nil {
		e := middleware.AsError(err)
		line = append(line, slog.Int("status", e.Status()), slog.String("reason", e.ErrorType()))
	}
	if begun {
		line = append(line, slog.String("operation", op.ID))
		if w.Usage != nil {
			line = append(line,
				slog.String("requested_event", usage.EventID(op.ID, usage.PhaseRequested)),
				slog.String("ended_event", usage.EventID(op.ID, usage.PhaseEnded)))
		}
	}
	w.Logger.LogAttrs(context.Background(), slog.LevelInfo, "audit", line...)
}

// result says in one word how a write went.
func result(c *fiber.Ctx, begun bool, err error) string {
	switch {
	case err == nil:
		return "accepted"
	case begun && middleware.OutcomeOf(c) == backend.Unknown:
		return "unknown"
	case middleware.AsError(err).Status() < fiber.StatusInternalServerError:
		return "refused"
	}
	return "failed"
}
