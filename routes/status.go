package routes

import (
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
)

// status answers with the bytes of the latest snapshot as they are.
func status(b backend.Backend) fiber.Handler {
	return func(c *fiber.Ctx) error {
		document, err := b.Status(c.UserContext())
		if err != nil {
			return err
		}
		return sendJSON(c, fiber.StatusOK, document)
	}
}

// sendJSON answers with a document that nobody changes any more.
func sendJSON(c *fiber.Ctx, code int, document []byte) error {
	response := &c.Context().Response
	response.SetStatusCode(code)
	response.Header.SetContentType(fiber.MIMEApplicationJSON)
	response.SetBodyRaw(document)
	return nil
}
