package routes

import (
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
)

// reach refuses a write that could not be sent now, before billing is asked or
// anything is recorded for it.
func reach(action backend.Action, b backend.Backend) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := b.Reach(c.UserContext(), action); err != nil {
			return err
		}
		return c.Next()
	}
}
