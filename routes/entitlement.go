package routes

import (
	"context"
	"time"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// boundedChecker gives each question its deadline: a client that gave up is
// not noticed, so nothing else would ever end one.
type boundedChecker struct {
	checker middleware.EntitlementChecker
	timeout time.Duration
}

func (b boundedChecker) CheckEntitlement(ctx context.Context, account, scope string) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	return b.checker.CheckEntitlement(ctx, account, scope)
}
