package middleware

import "github.com/gofiber/fiber/v2"

// The header of every reply, in the spelling of the wire.
var cacheControlHeader, noStoreValue = []byte(fiber.HeaderCacheControl), []byte("no-store")

// NoStore keeps every reply out of caches (RFC 9111 §5.2.2.5): a state or a
// refusal is true for this caller and this moment only.
func NoStore() fiber.Handler {
	return func(c *fiber.Ctx) error {
		c.Response().Header.SetCanonical(cacheControlHeader, noStoreValue)
		return c.Next()
	}
}
