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

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// Operations keeps operations, with their usage records. A method returns when what it
// wrote is as durable as the store is. After an error other than a lifecycle.ErrUnconfirmed
// nothing was written.
type Operations interface {
	// Meet returns the operation that w shares with an earlier write, if there is one;
	// it inserts nothing.
	Meet(ctx context.Context, w lifecycle.Write) (lifecycle.Decided, error)
	// Begin records w before any work is done for it, and decides what becomes of it.
	// Only a Lead is carried out.
	Begin(ctx context.Context, w lifecycle.Write) (lifecycle.Decided, error)
	// Again decides for an operation that has joined, whose leader was not sent.
	Again(ctx context.Context, id string) (lifecycle.Decided, error)
	// Ended follows each Lead, once. It records any outcome but Unknown, which a later
	// reply may decide, and returns the operation as it is on record, where its end may
	// come from another process. After an error the end is recorded later.
	Ended(id string, outcome lifecycle.Outcome, said error, took time.Duration) (lifecycle.Receipt, error)
	// Await returns the operation with that id once it has an end; or once leader was not
	// sent, where that is the id of the one that it joined. Otherwise it returns an error.
	Await(ctx context.Context, id, leader string) (lifecycle.Receipt, error)
	// Receipt returns an empty one where there is none, Receipts the newest first.
	Receipt(ctx context.Context, id string) (lifecycle.Receipt, error)
	Receipts(ctx context.Context, account string, limit int) ([]lifecycle.Receipt, error)
	// Estimate is how long the start r takes, none where it is superseded. It returns at once.
	Estimate(r lifecycle.Receipt) lifecycle.Estimate
}

type (
	writeKey   struct{} // where a lifecycle.Write is left for what follows
	decidedKey struct{} // where the lifecycle.Decided about it is, for the audit line
)

// writes carries out the starts, or the stops.
type writes struct {
	*api
	action lifecycle.Action
}

// audited runs before the checks, so that what they refuse has an audit line too.
func (w *writes) audited(c *fiber.Ctx) (err error) {
	err = errors.New("panic") // until there is another, or none
	defer func() { w.audit(c, err) }()
	return c.Next()
}

// asked runs after the checks of the caller and of the body. From here on a failure
// says what became of the write; with a key, that is unknown until it was looked up.
func (w *writes) asked(c *fiber.Ctx) error {
	write := lifecycle.Write{Operation: lifecycle.Operation{
		ID: uuid.Must(uuid.NewV7()).String(), Action: w.action, Account: middleware.CallerIdentity(c).Subject,
		RequestID: strings.Clone(middleware.RequestIDOf(c)),
	}}
	outcome := lifecycle.NotSent
	if w.Operations != nil {
		var err error
		if write.Key, err = middleware.IdempotencyKey(c); err != nil {
			return err
		}
		seconds, _ := middleware.PreferWait(c)
		write.Join = seconds > 0
		if write.Key != "" {
			outcome = lifecycle.Unknown
		}
	}
	middleware.SetOutcome(c, outcome)
	c.Locals(writeKey{}, write)
	return c.Next()
}

// met answers a write that has the operation of another one, and refuses one that
// could not be sent now, before billing is asked or anything is recorded for it.
func (w *writes) met(c *fiber.Ctx) error {
	write := c.Locals(writeKey{}).(lifecycle.Write)
	if w.Operations != nil && write.MayMeet() {
		ctx, cancel := context.WithTimeout(c.UserContext(), w.Timeout)
		defer cancel()
		decided, err := w.Operations.Meet(ctx, write)
		switch {
		case err != nil:
			return unrecorded(c, err, middleware.OutcomeOf(c.Context()))
		case decided.Decision != lifecycle.New:
			return w.follow(c, write, decided)
		}
		middleware.SetOutcome(c, lifecycle.NotSent)
	}
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
	write := c.Locals(writeKey{}).(lifecycle.Write)
	write.RequestedAt = time.Now()
	decided := lifecycle.Decided{Receipt: lifecycle.Receipt{ID: write.ID}}
	if w.Operations != nil {
		var err error
		write.Entitlement = middleware.EntitlementOf(c)
		if decided, err = w.Operations.Begin(ctx, write); err != nil {
			outcome := lifecycle.NotSent
			if write.Key != "" || write.MayMeet() && errors.Is(err, lifecycle.ErrUnconfirmed) { // it may repeat an operation, or have joined one
				outcome = lifecycle.Unknown
			}
			return unrecorded(c, err, outcome)
		}
	}
	return w.follow(c, write, decided)
}

var errTooManyKeys = &middleware.Error{Code: middleware.CodeTooManyRequests, Reason: "idempotency_keys", RetryAfter: time.Minute,
	Message: "This account has used too many idempotency keys within a day."}

// unrecorded is the answer to a write that could not be decided.
func unrecorded(c *fiber.Ctx, err error, outcome lifecycle.Outcome) error {
	if errors.Is(err, lifecycle.ErrTooManyKeys) {
		middleware.SetOutcome(c, lifecycle.NotSent)
		return errTooManyKeys
	}
	if errors.Is(err, lifecycle.ErrFull) {
		outcome = lifecycle.NotSent
	}
	middleware.SetOutcome(c, outcome)
	if outcome == lifecycle.Unknown {
		return middleware.Unavailable(0, "The operation that this request may stand for cannot be looked up now.", err)
	}
	return middleware.Unavailable(0, "The operation cannot be recorded now, so nothing was done.", err)
}

// follow does what was decided for a write, until its operation has an end.
func (w *writes) follow(c *fiber.Ctx, write lifecycle.Write, decided lifecycle.Decided) (err error) {
	for { // until it closes: each time a leader was not sent
		ctx, cancel := context.WithTimeout(c.UserContext(), w.Timeout)
		defer cancel()
		receipt := decided.Receipt
		if decided.Decision == lifecycle.Known && receipt.Action != write.Action {
			middleware.SetOutcome(c, lifecycle.NotSent)
			return middleware.NewError(middleware.CodeMismatch, "This Idempotency-Key was used for the other action.")
		}
		c.Locals(decidedKey{}, decided)
		if w.Operations != nil {
			c.Set(fiber.HeaderLocation, strings.TrimSuffix(c.Route().Path, string(w.action))+"operations/"+receipt.ID)
		}
		middleware.SetOutcome(c, lifecycle.Unknown)
		switch {
		case decided.Decision == lifecycle.Lead:
			op := write.Operation
			op.ID, op.Permit = receipt.ID, decided.Permit
			return w.apply(ctx, c, op)
		case receipt.Outcome != "":
		case decided.Decision == lifecycle.Known && !write.Join:
			return errInProgress
		case decided.Decision == lifecycle.Joined:
			receipt, err = w.Operations.Await(ctx, receipt.ID, receipt.Leader)
		default:
			receipt, err = w.Operations.Await(ctx, receipt.ID, "")
		}
		switch {
		case receipt.Outcome != "":
			return w.answer(c, receipt, decided.Decision == lifecycle.Known && receipt.Outcome != lifecycle.NotSent)
		case err != nil && ctx.Err() == nil:
			return middleware.Unavailable(0, "The operation cannot be followed now. The runtime may still act on it.", err)
		case err != nil && decided.Decision == lifecycle.Known:
			return errInProgress
		case err != nil:
			return failure(lifecycle.Receipt{Outcome: lifecycle.Unknown})
		}
		if decided, err = w.Operations.Again(ctx, receipt.ID); err != nil {
			if !errors.Is(err, lifecycle.ErrUnconfirmed) {
				middleware.SetOutcome(c, lifecycle.NotSent)
			}
			return middleware.Unavailable(0, "The start that this one had joined was not sent, and this one cannot be recorded now.", err)
		}
	}
}

// errInProgress is for the repetition of a write that is under way.
var errInProgress = &middleware.Error{Code: middleware.CodeConflict, RetryAfter: time.Second,
	Message: "The operation of this Idempotency-Key is under way."}

// answer answers with the end of an operation that is on record. Replayed says that its
// caller had that answer before.
func (w *writes) answer(c *fiber.Ctx, receipt lifecycle.Receipt, replayed bool) error {
	middleware.SetOutcome(c, receipt.Outcome)
	e := failure(receipt)
	if replayed {
		c.Set("Idempotency-Replayed", "true")
	}
	if e != nil {
		if replayed {
			e.RequestID = receipt.RequestID // the body is the same
		}
		return e
	}
	at := receipt.AcceptedAt
	if receipt.Leader != "" {
		if leader, _ := w.Operations.Receipt(c.UserContext(), receipt.Leader); !leader.AcceptedAt.IsZero() {
			at = leader.AcceptedAt
		}
	}
	w.Backend.AcceptedAt(at)
	return w.accepted(c, receipt, false)
}

// apply asks the runtime and records the end. Until the runtime has answered
// the outcome is unknown, and so it stays if that panics.
func (w *writes) apply(ctx context.Context, c *fiber.Ctx, op lifecycle.Operation) error {
	ended := false
	defer func() {
		if !ended && w.Operations != nil { // a panic, or a bug
			_, _ = w.Operations.Ended(op.ID, lifecycle.Unknown, nil, 0) // which writes nothing
		}
	}()
	outcome, err := w.Backend.Apply(ctx, op)
	if !outcome.Known() || (err == nil) != (outcome == lifecycle.Accepted) {
		return fmt.Errorf("BUG: the backend returned the outcome %q with the error: %v", outcome, err)
	}
	ended = true
	receipt := lifecycle.Receipt{ID: op.ID, Action: op.Action}
	if w.Operations != nil {
		var unrecorded error
		receipt, unrecorded = w.Operations.Ended(op.ID, outcome, err, time.Since(op.RequestedAt))
		switch {
		case unrecorded != nil && outcome != lifecycle.NotSent:
			return middleware.Unavailable(0, "The runtime answered, but the end of the operation could not be recorded yet.", unrecorded)
		case unrecorded != nil || receipt.Outcome == outcome:
		case receipt.Outcome == lifecycle.Accepted, receipt.Outcome == lifecycle.Rejected: // another process had another reply first
			return w.answer(c, receipt, false)
		default: // it was given up meanwhile
			return middleware.Unavailable(0, "What became of the operation is not known.", fmt.Errorf("it is %q, and on record as %q", outcome, receipt.Outcome))
		}
	}
	middleware.SetOutcome(c, outcome)
	if err != nil {
		return err
	}
	return w.accepted(c, receipt, true)
}

// audit logs one line for each write of an authenticated caller, whatever
// became of it, a panic included. Callers without a token could fill the log,
// so theirs is the refusal metric.
func (w *writes) audit(c *fiber.Ctx, err error) {
	caller := middleware.CallerIdentity(c)
	if caller == nil {
		return
	}
	decided, begun := c.Locals(decidedKey{}).(lifecycle.Decided)
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
		line = append(line, slog.String("operation", decided.ID))
		if w.Billed {
			line = append(line,
				slog.String("requested_event", usage.EventID(decided.ID, usage.PhaseRequested)),
				slog.String("ended_event", usage.EventID(decided.ID, usage.PhaseEnded)))
		}
	}
	switch decided.Decision {
	case lifecycle.Joined, lifecycle.Attached:
		line = append(line, slog.Bool("joined", true))
	case lifecycle.Known:
		line = append(line, slog.Bool("replayed", true))
	}
	w.Logger.LogAttrs(context.Background(), slog.LevelInfo, "audit", line...)
}

// result says in one word how a write went.
func result(c *fiber.Ctx, begun bool, err error) string {
	switch {
	case err == nil, begun && middleware.OutcomeOf(c.Context()) == lifecycle.Accepted:
		return "accepted"
	case begun && middleware.OutcomeOf(c.Context()) == lifecycle.Unknown:
		return "unknown"
	case middleware.AsError(err).Status() < fiber.StatusInternalServerError:
		return "refused"
	}
	return "failed"
}
