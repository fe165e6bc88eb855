// Package billing asks the billing integration whether an account may act.
package billing

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// maxUsage bounds what of a denial's usage reaches the caller, in bytes.
const maxUsage = 4 << 10

// asked is who is asked, in messages to callers.
const asked = "billing integration"

// The reasons of the platform, which become the error type.
const (
	required      = "billing_required"
	quotaExceeded = "quota_exceeded"
)

// reasonShape is what any other reason must look like to be passed on.
var reasonShape = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Reply is the reply stream that a Checker needs its client to hear.
var Reply = events.ReplyName(events.EntitlementRequest)

// Checker asks over Events. Its answers are never kept.
type Checker struct{ client *events.Client }

// NewChecker returns a Checker that asks through client.
func NewChecker(client *events.Client) *Checker { return &Checker{client} }

// answer is the reply payload of bus.billing.entitlement.check.request.
type answer struct {
	Allowed         *bool           `json:"allowed"`
	Reason          string          `json:"reason"`
	Message         string          `json:"message"`
	Action          string          `json:"action"`
	Command         string          `json:"command"`
	PlanID          string          `json:"plan_id"`
	RecommendedPlan string          `json:"recommended_plan"`
	Usage           json.RawMessage `json:"usage"`
}

// CheckEntitlement returns nil when account may use scope now, a 402 when it
// may not, a 502 for an answer that is none, and a 503 without any.
func (c *Checker) CheckEntitlement(ctx context.Context, account, scope string) error {
	reply, err := c.client.Request(ctx, events.Request{
		Name:          events.EntitlementRequest,
		Reply:         Reply,
		CorrelationID: uuid.NewString(),
		Payload: struct {
			Account string `json:"account_id"`
			Scope   string `json:"scope"`
		}{account, scope},
	})
	if err != nil {
		return events.QuestionFailure(err, asked)
	}
	var a answer
	if err := reply.Decode(&a); err != nil {
		return events.Failure(err, asked)
	}
	switch {
	case a.Allowed == nil:
		return events.Failure(fmt.Errorf("%w: no boolean allowed", events.ErrMalformed), asked)
	case *a.Allowed:
		return nil
	}
	return a.denial()
}

// denial is the 402 that a says.
func (a answer) denial() error {
	reason := a.Reason
	if !reasonShape.MatchString(reason) {
		reason = required
	}
	message := a.Message
	switch {
	case message != "":
		message = events.Clean(message)
	case reason == quotaExceeded:
		message = "The quota of this account is used up."
	default:
		message = "This account needs a billing plan before it can do this."
	}
	extra := map[string]any{}
	for name, value := range map[string]string{
		"action": a.Action, "command": a.Command, "plan_id": a.PlanID, "recommended_plan": a.RecommendedPlan,
	} {
		if value != "" {
			extra[name] = events.Clean(value)
		}
	}
	if len(a.Usage) > 0 && len(a.Usage) <= maxUsage && string(a.Usage) != "null" {
		extra["usage"] = a.Usage
	}
	denied := apierror.Denied(apierror.Code(reason), message, extra)
	if reason == required || reason == quotaExceeded {
		denied.Reason = reason // any other word would be a time series of its own
	}
	return denied
}
