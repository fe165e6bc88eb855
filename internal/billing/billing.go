// Package billing asks the billing integration whether an account may act.
package billing

import (
	"cmp"
	"context"
	"fmt"
	"regexp"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// reasonShape is what any other reason must look like to be passed on.
var reasonShape = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Reply is the reply stream that NewChecker needs its client to subscribe to.
var Reply = events.ReplyName(events.EntitlementRequest)

// NewChecker returns a middleware.EntitlementChecker that asks through client.
// Its answers are never kept.
func NewChecker(client *events.Client) func(ctx context.Context, account, scope string) (lifecycle.Entitlement, error) {
	return func(ctx context.Context, account, scope string) (allowed lifecycle.Entitlement, _ error) {
		err := client.Do(ctx, events.Request{
			Name:          events.EntitlementRequest,
			CorrelationID: uuid.NewString(),
			Payload:       map[string]string{"account_id": account, "scope": scope},
			Decode:        func(e events.Envelope) (err error) { allowed, err = decode(e); return err },
		})
		return allowed, lifecycle.Failure(err, "billing integration", false)
	}
}

// decode returns what a reply that allows says, a Denied for one that does not, and
// any other error for one that is no answer.
func decode(e events.Envelope) (entitled lifecycle.Entitlement, _ error) {
	fields, err := e.Fields()
	allowed, ok := fields.Bool("allowed")
	switch {
	case err != nil:
		return entitled, err
	case !ok:
		return entitled, fmt.Errorf("%w: no boolean allowed", events.ErrMalformed)
	}
	words := func(name string) string {
		text, _ := fields.Text(name)
		return events.Clean(text)
	}
	reason, _ := fields.Text("reason")
	if !reasonShape.MatchString(reason) {
		reason = map[bool]string{true: "allowed", false: lifecycle.BillingRequired}[allowed]
	}
	if allowed {
		return lifecycle.Entitlement{Reason: reason, PlanID: words("plan_id")}, nil
	}
	message := "This account needs a billing plan before it can do this."
	if reason == lifecycle.QuotaExceeded {
		message = "The quota of this account is used up."
	}
	denial := lifecycle.Denial{
		Action: words("action"), Command: words("command"), PlanID: words("plan_id"), RecommendedPlan: words("recommended_plan"),
	}
	if fields["usage"] != nil {
		if denial.Usage, err = fields.PassedOn("usage"); err != nil {
			return entitled, err
		}
	}
	return entitled, &lifecycle.Error{Kind: lifecycle.Denied, Type: reason, Message: cmp.Or(words("message"), message), Denial: denial}
}
