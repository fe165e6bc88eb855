package middleware

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
)

// The scopes of this API. Neither implies the other.
const (
	ScopeRead  = "vm:read"
	ScopeWrite = "vm:write"
)

// forCaller has handle take the requests of authenticated callers, and refuses all
// others.
func forCaller(handle func(c *fiber.Ctx, caller *Identity) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if caller := CallerIdentity(c); caller != nil {
			return handle(c, caller)
		}
		return errMissingToken
	}
}

// RequireScope refuses a caller whose token does not hold exactly one of scopes, with
// 403 insufficient_access. It stands behind Authenticator.Handler.
func RequireScope(scopes ...string) fiber.Handler {
	refusal := challenge(CodeInsufficientAccess, "scope",
		realm+`, error="insufficient_scope", scope="`+scopes[0]+`"`, "The token lacks the scope "+strings.Join(scopes, " or ")+".")
	return forCaller(func(c *fiber.Ctx, caller *Identity) error {
		if !slices.ContainsFunc(scopes, func(scope string) bool { return slices.Contains(caller.Scopes, scope) }) {
			return refusal
		}
		return c.Next()
	})
}

var errNoAccount = NewError(CodeInsufficientAccess, "The subject of this token is not a billable account.")

// RequireAccount refuses a caller whose subject is no UUID with 403: billing
// and usage know accounts by nothing else.
func RequireAccount() fiber.Handler {
	return forCaller(func(c *fiber.Ctx, caller *Identity) error {
		const canonical = 36 // characters of the 8-4-4-4-12 form (RFC 9562 §4)
		if len(caller.Subject) != canonical || uuid.Validate(caller.Subject) != nil {
			return errNoAccount
		}
		return c.Next()
	})
}

// EntitlementChecker asks billing whether an account may use a scope now. It
// returns nil when it may, a *lifecycle.Error of kind Denied when it may not, and
// any other error when there is no answer; then the request is refused as well.
type EntitlementChecker func(ctx context.Context, account, scope string) (lifecycle.Entitlement, error)

// entitlementKey is where RequireEntitlement leaves what billing said.
type entitlementKey struct{}

// EntitlementOf returns what billing said to the caller, none where it was not asked.
func EntitlementOf(c *fiber.Ctx) lifecycle.Entitlement {
	e, _ := c.Locals(entitlementKey{}).(lifecycle.Entitlement)
	return e
}

// RequireEntitlement asks billing about every request, for at most timeout. Answers
// are not kept: a quota may end between two of them. set gets
// bus_vm_entitlement_answers_total. All arguments are required.
func RequireEntitlement(check EntitlementChecker, scope string, timeout time.Duration, set *metrics.Set) fiber.Handler {
	answers := newCounters(set, `bus_vm_entitlement_answers_total{result=%q}`, "allowed", "denied", "unanswered", "failed")
	return forCaller(func(c *fiber.Ctx, caller *Identity) error {
		ctx, cancel := context.WithTimeout(c.UserContext(), timeout)
		entitled, err := check(ctx, caller.Subject, scope)
		cancel()
		answers.of(entitlement(err)).Inc()
		if err != nil {
			return err
		}
		c.Locals(entitlementKey{}, entitled)
		return c.Next()
	})
}

// entitlement says in one word what billing answered.
func entitlement(err error) string {
	answer, known := errors.AsType[*lifecycle.Error](err)
	switch {
	case err == nil:
		return "allowed"
	case known && answer.Kind == lifecycle.Denied:
		return "denied"
	case known && answer.Kind == lifecycle.Unavailable:
		return "unanswered"
	}
	return "failed"
}
