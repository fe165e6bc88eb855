package routes

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// status answers with the bytes of the latest snapshot as they are. It is logged
// at debug only: readers poll.
func status(b backend.Backend, logger *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) error {
		document, err := b.Status(c.UserContext())
		if err != nil {
			return err
		}
		if logger.Enabled(context.Background(), slog.LevelDebug) {
			logger.LogAttrs(context.Background(), slog.LevelDebug, "read",
				slog.String("request_id", strings.Clone(middleware.RequestIDOf(c))),
				slog.String("subject", middleware.CallerIdentity(c).Subject),
				slog.Duration("duration", time.Since(c.Context().Time())))
		}
		return sendJSON(c, fiber.StatusOK, document)
	}
}

// sendJSON answers with a document that is not changed any more.
func sendJSON(c *fiber.Ctx, code int, document []byte) error {
	response := &c.Context().Response
	response.SetStatusCode(code)
	response.Header.SetContentType(fiber.MIMEApplicationJSON)
	response.SetBodyRaw(document)
	return nil
}
