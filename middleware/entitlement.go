package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
)

// EntitlementChecker asks billing whether an account may use a scope now. It
// returns nil when it may, a *backend.Error of kind Denied when it may not, and
// any other error when there is no answer; then the request is refused as well.
type EntitlementChecker interface {
	CheckEntitlement(ctx context.Context, account, scope string) error
}

// EntitlementConfig configures RequireEntitlement. Checker and Scope are
// required.
type EntitlementConfig struct {
	Checker EntitlementChecker
	// Scope is what the account wants to use.
	Scope string
	// Timeout bounds each question; default 30 s. A client that gave up is not
	// noticed, so nothing else would end one.
	Timeout time.Duration
	// Metrics gets bus_vm_entitlement_answers_total; nil for none.
	Metrics *metrics.Set
}

const defaultEntitlementTimeout = 30 * time.Second

// RequireEntitlement asks billing about every request. Answers are not kept: a
// quota may end between two of them.
func RequireEntitlement(config EntitlementConfig) fiber.Handler {
	if config.Timeout <= 0 {
		config.Timeout = defaultEntitlementTimeout
	}
	if config.Metrics == nil {
		config.Metrics = metrics.NewSet()
	}
	counter := func(result string) *metrics.Counter {
		return config.Metrics.GetOrCreateCounter(fmt.Sprintf("bus_vm_entitlement_answers_total{result=%q}", result))
	}
	allowed, denied, unanswered, failed := counter("allowed"), counter("denied"), counter("unanswered"), counter("failed")
	count := func(err error) {
		var answer *backend.Error
		errors.As(err, &answer)
		switch {
		case err == nil:
			allowed.Inc()
		case answer != nil && answer.Kind == backend.Denied:
			denied.Inc()
		case answer != nil && answer.Kind == backend.Unavailable:
			unanswered.Inc()
		default:
			failed.Inc()
		}
	}
	return func(c *fiber.Ctx) error {
		id := CallerIdentity(c)
		if id == nil {
			return errMissingToken
		}
		ctx, cancel := context.WithTimeout(c.UserContext(), config.Timeout)
		err := config.Checker.CheckEntitlement(ctx, id.Subject, config.Scope)
		cancel()
		count(err)
		if err != nil {
			return err
		}
		return c.Next()
	}
}
