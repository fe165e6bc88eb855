package middleware

import (
	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
)

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
