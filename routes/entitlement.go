package routes

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// boundedChecker gives each question its deadline and counts the answers: a
// client that gave up is not noticed, so nothing else would ever end one.
type boundedChecker struct {
	checker middleware.EntitlementChecker
	timeout time.Duration

	allowed, denied, unanswered, failed *metrics.Counter
}

func newBoundedChecker(checker middleware.EntitlementChecker, timeout time.Duration, set *metrics.Set) *boundedChecker {
	counter := func(result string) *metrics.Counter {
		return set.GetOrCreateCounter(fmt.Sprintf("bus_vm_entitlement_answers_total{result=%q}", result))
	}
	return &boundedChecker{
		checker, timeout,
		counter("allowed"), counter("denied"), counter("unanswered"), counter("failed"),
	}
}

func (b *boundedChecker) CheckEntitlement(ctx context.Context, account, scope string) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	err := b.checker.CheckEntitlement(ctx, account, scope)
	b.count(err).Inc()
	return err
}

// count is the counter of one answer: failed is one that makes no sense, or an
// error of the integration's own.
func (b *boundedChecker) count(err error) *metrics.Counter {
	if err == nil {
		return b.allowed
	}
	switch apierror.From(err).HTTPStatus() {
	case http.StatusPaymentRequired:
		return b.denied
	case http.StatusServiceUnavailable:
		return b.unanswered
	}
	return b.failed
}
