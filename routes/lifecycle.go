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

// Recorder keeps operations, with their usage records. Both methods return once
// what they write is as durable as the recorder makes it.
type Recorder interface {
	// Requested records op before any work is done for it. After an error op must
	// not be carried out. The permit is for backend.Operation.Permit.
	Requested(ctx context.Context, op backend.Operation) (permit func() error, err error)
	// Ended follows each Requested that succeeds, once. It records how op ended, took
	// after it was requested, and returns how it
	// has ended by what is on record, which may come from another process. Of an
	// Unknown outcome nothing is recorded: a later reply may tell. After an error
	// the end is recorded later.
	Ended(op backend.Operation, outcome backend.Outcome, took time.Duration) (backend.Outcome, error)
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
	if w.Operations != nil {
		var err error
		if op.Permit, err = w.Operations.Requested(ctx, op); err != nil {
			return middleware.Unavailable(0, "The operation cannot be recorded now, so nothing was done.", err)
		}
	}
	if err := w.apply(ctx, c, op); err != nil {
		return err
	}
	return sendJSON(c, fiber.StatusAccepted, []byte(`{"accepted":true,"action":"`+w.action+`"}`))
}

// apply asks the runtime and records the end. Until the runtime has answered
// the outcome is unknown, and so it stays if that panics.
func (w *writes) apply(ctx context.Context, c *fiber.Ctx, op backend.Operation) error {
	middleware.SetOutcome(c, backend.Unknown)
	told := false
	defer func() {
		if !told && w.Operations != nil { // a panic, or a bug
			_, _ = w.Operations.Ended(op, backend.Unknown, 0) // which writes nothing
		}
	}()
	outcome, err := w.Backend.Apply(ctx, op)
	if !outcome.Known() || (err == nil) != (outcome == backend.Accepted) {
		return fmt.Errorf("BUG: the backend returned the outcome %q with the error: %v", outcome, err)
	}
	told = true
	if w.Operations != nil {
		recorded, unrecorded := w.Operations.Ended(op, outcome, time.Since(op.RequestedAt))
		switch {
		case unrecorded != nil && outcome != backend.NotSent:
			return middleware.Unavailable(0, "The runtime answered, but the end of the operation could not be recorded yet.", unrecorded)
		case recorded == outcome:
		case recorded == backend.Accepted: // another process had another reply first
			outcome, err = recorded, nil
		case recorded == backend.Rejected:
			outcome, err = recorded, &backend.Error{Kind: backend.Rejection, Message: "The runtime did not accept the operation."}
		default: // it was given up meanwhile
			return middleware.Unavailable(0, "What became of the operation is not known.", fmt.Errorf("it is %q, and on record as %q", outcome, recorded))
		}
	}
	middleware.SetOutcome(c, outcome)
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
		if w.Billed {
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
