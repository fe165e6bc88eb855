package routes

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// readyRetryAfter is when a probe of an unready instance may look again.
const readyRetryAfter = time.Second

var okDocument = []byte(`{"ok":true}`)

// ready answers whether this instance should get traffic. It takes no token.
func ready(config Config) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if config.Ready != nil {
			if err := config.Ready(); err != nil {
				return notReady(err)
			}
		}
		return sendJSON(c, fiber.StatusOK, okDocument)
	}
}

// live answers as long as the process can answer at all.
func live(c *fiber.Ctx) error { return sendJSON(c, fiber.StatusOK, okDocument) }

// notReady shows the reason itself: a probe has no other reader, and reasons
// name streams and stages, never secrets.
func notReady(reason error) error {
	return middleware.Unavailable(readyRetryAfter, "Not ready: "+reason.Error()+".", nil)
}
