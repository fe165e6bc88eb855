package routes

import (
	"context"
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

// audit logs one line for each write of an authenticated caller, whatever
// became of it. Callers nobody knows could fill the log, so theirs is the
// refusal metric.
func audit(action backend.Action, config Config) fiber.Handler {
	return func(c *fiber.Ctx) error {
		began := time.Now()
		err := c.Next()
		caller := middleware.CallerIdentity(c)
		if caller == nil {
			return err
		}
		line := []slog.Attr{
			slog.String("request_id", strings.Clone(middleware.RequestIDOf(c))),
			slog.String("subject", caller.Subject),
			slog.String("action", string(action)),
			slog.String("result", result(err)),
			slog.Duration("duration", time.Since(began)),
		}
		if err != nil {
			e := apierror.From(err)
			line = append(line, slog.Int("status", e.HTTPStatus()), slog.String("reason", string(e.Code)))
		}
		if op, ok := c.Locals(operationKey{}).(*backend.Operation); ok {
			line = append(line, slog.String("operation", op.ID))
			if config.Usage != nil {
				line = append(line,
					slog.String("requested_event", usage.EventID(op.ID, usage.PhaseRequested)),
					slog.String("ended_event", usage.EventID(op.ID, usage.PhaseEnded)))
			}
		}
		config.Logger.LogAttrs(context.Background(), slog.LevelInfo, "audit", line...)
		return err
	}
}

// result says in one word how a write went.
func result(err error) string {
	if err == nil {
		return "accepted"
	}
	e := apierror.From(err)
	switch status := e.HTTPStatus(); {
	case status < fiber.StatusInternalServerError:
		return "refused"
	case e.OutcomeUnknown:
		return "unknown"
	}
	return "failed"
}
