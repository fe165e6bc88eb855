package middleware

import (
	"slices"

	"github.com/gofiber/fiber/v2"
)

// The scopes of this API. Neither implies the other.
const (
	ScopeRead  = "vm:read"
	ScopeWrite = "vm:write"
)

// RequireScope refuses a caller whose token does not hold exactly scope, with
// 403 insufficient_access. It stands behind Authenticator.Handler.
func RequireScope(scope string) fiber.Handler {
	refusal := missingScope(scope)
	return func(c *fiber.Ctx) error {
		id := CallerIdentity(c)
		if id == nil {
			return errMissingToken
		}
		if !slices.Contains(id.Scopes, scope) {
			return refusal
		}
		return c.Next()
	}
}
