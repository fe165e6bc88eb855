package middleware

import (
	"slices"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
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

const canonicalUUID = 36 // characters of the 8-4-4-4-12 form (RFC 9562 §4)

var errNoAccount = NewError(CodeInsufficientAccess,
	"The subject of this token is not a billable account.")

// RequireAccount refuses a caller whose subject is no UUID with 403: billing
// and usage know accounts by nothing else.
func RequireAccount() fiber.Handler {
	return func(c *fiber.Ctx) error {
		id := CallerIdentity(c)
		if id == nil {
			return errMissingToken
		}
		if len(id.Subject) != canonicalUUID || uuid.Validate(id.Subject) != nil {
			return errNoAccount
		}
		return c.Next()
	}
}
