package routes

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// operationKey is where a write leaves its *backend.Operation for the audit.
type operationKey struct{}

// errPanicked is how a write ended that never returned.
var errPanicked = errors.New("panic")

// audit logs one line for each write of an authenticated caller, whatever
// became of it, a panic included. Callers nobody knows could fill the log, so
// theirs is the refusal metric.
func audit(action backend.Action, config Config) fiber.Handler {
	write := func(c *fiber.Ctx, began time.Time, err error) {
		caller := middleware.CallerIdentity(c)
		if caller == nil {
			return
		}
		op, begun := c.Locals(operationKey{}).(*backend.Operation)
		line := []slog.Attr{
			slog.String("request_id", strings.Clone(middleware.RequestIDOf(c))),
			slog.String("subject", caller.Subject),
			slog.String("action", string(action)),
			slog.String("result", result(err, begun)),
			slog.Duration("duration", time.Since(began)),
		}
		if err != nil {
			e := apierror.From(err)
			line = append(line, slog.Int("status", e.HTTPStatus()), slog.String("reason", string(e.Code)))
		}
		if begun {
			line = append(line, slog.String("operation", op.ID))
			if config.Usage != nil {
				line = append(line,
					slog.String("requested_event", usage.EventID(op.ID, usage.PhaseRequested)),
					slog.String("ended_event", usage.EventID(op.ID, usage.PhaseEnded)))
			}
		}
		config.Logger.LogAttrs(context.Background(), slog.LevelInfo, "audit", line...)
	}
	return func(c *fiber.Ctx) error {
		began, err := time.Now(), errPanicked
		defer func() { write(c, began, err) }()
		err = c.Next()
		return err
	}
}

// result says in one word how a write went. Once it has begun, that is the
// outcome which its usage record has.
func result(err error, begun bool) string {
	switch {
	case err == nil:
		return "accepted"
	case begun && outcomeOf(err) == backend.Unknown:
		return "unknown"
	case apierror.From(err).HTTPStatus() < fiber.StatusInternalServerError:
		return "refused"
	}
	return "failed"
}
