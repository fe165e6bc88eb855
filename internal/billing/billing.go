// Package billing asks the billing integration whether an account may act.
package billing

import (
	"context"
	"fmt"
	"regexp"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// reasonShape is what any other reason must look like to be passed on.
var reasonShape = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Reply is the reply stream that NewChecker needs its client to subscribe to.
var Reply = events.ReplyName(events.EntitlementRequest)

// NewChecker returns a middleware.EntitlementChecker that asks through client.
// Its answers are never kept.
func NewChecker(client *events.Client) func(ctx context.Context, account, scope string) error {
	return func(ctx context.Context, account, scope string) error {
		err := client.Do(ctx, events.Request{
			Name:          events.EntitlementRequest,
			CorrelationID: uuid.NewString(),
			Payload:       map[string]string{"account_id": account, "scope": scope},
			Decode:        decode,
		})
		return lifecycle.Failure(err, "billing integration", false)
	}
}

// decode returns nil when a reply allows, a Denied when it does not, and any
// other error for one that is no answer.
func decode(e events.Envelope) error {
	fields, err := e.Fields("allowed", "reason", "message", "action", "command", "plan_id", "recommended_plan", "usage")
	if err != nil {
		return err
	}
	allowed, ok := fields.Bool("allowed")
	switch {
	case !ok:
		return fmt.Errorf("%w: no boolean allowed", events.ErrMalformed)
	case allowed:
		return nil
	}
	words := func(name string) string {
		text, _ := fields.Text(name)
		return events.Clean(text)
	}
	d := &lifecycle.Error{Kind: lifecycle.Denied, Message: words("message"), Denial: lifecycle.Denial{
		Action: words("action"), Command: words("command"), PlanID: words("plan_id"), RecommendedPlan: words("recommended_plan"),
	}}
	if d.Type, _ = fields.Text("reason"); !reasonShape.MatchString(d.Type) {
		d.Type = lifecycle.BillingRequired
	}
	switch {
	case d.Message != "":
	case d.Type == lifecycle.QuotaExceeded:
		d.Message = "The quota of this account is used up."
	default:
		d.Message = "This account needs a billing plan before it can do this."
	}
	if fields["usage"] != nil {
		if d.Denial.Usage, err = fields.PassedOn("usage"); err != nil {
			return err
		}
	}
	return d
}
