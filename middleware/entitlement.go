package middleware

import (
	"context"

	"github.com/gofiber/fiber/v2"
)

// EntitlementChecker asks billing whether an account may use a scope now. It
// returns nil when it may, a 402 *backend.Error when it may not, and any other
// error when there is no answer; then the request is refused as well.
type EntitlementChecker interface {
	CheckEntitlement(ctx context.Context, account, scope string) error
}

// RequireEntitlement asks checker about every request. Answers are not kept: a
// quota may end between two of them.
func RequireEntitlement(checker EntitlementChecker, scope string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		id := CallerIdentity(c)
		if id == nil {
			return errMissingToken
		}
		if err := checker.CheckEntitlement(c.UserContext(), id.Subject, scope); err != nil {
			return err
		}
		return c.Next()
	}
}
