package middleware

import "github.com/gofiber/fiber/v2"

// NoStore keeps every reply out of caches (RFC 9111 §5.2.2.5): a state or a
// refusal is true for this caller and this moment only.
func NoStore() fiber.Handler {
	name, value := []byte(fiber.HeaderCacheControl), []byte("no-store")
	return func(c *fiber.Ctx) error {
		c.Response().Header.SetCanonical(name, value)
		return c.Next()
	}
}
