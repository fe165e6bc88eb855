package platform

import (
	"encoding/json"
	"maps"
	"sync"

	"github.com/google/uuid"
)

// Decision is billing's answer for an account.
type Decision struct {
	Allowed bool
	// Reason is billing_active, billing_required or quota_exceeded in the
	// platform; empty means the first when allowed, else the second.
	Reason string
	// The rest is left out of the reply where it is empty.
	Command, PlanID, RecommendedPlan string
	Usage                            map[string]any
}

// BillingWorker answers entitlement checks. Every account is allowed until
// told otherwise.
type BillingWorker struct {
	*Worker

	mu        sync.Mutex
	decisions map[string]Decision // by account; "" has that of every other one
}

func newBillingWorker(e *Events) *BillingWorker {
	b := &BillingWorker{decisions: map[string]Decision{"": {Allowed: true}}}
	b.Worker = newWorker(e, "billing", billingScope, EntitlementRequest)
	b.echoAs = "usage"
	b.handle = b.answer
	return b
}

// Decide sets the answer for account; an empty account means every other one.
func (b *BillingWorker) Decide(account string, d Decision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decisions[account] = d
}

func (b *BillingWorker) answer(req Request) (map[string]any, *EventError) {
	var body struct {
		Scope string `json:"scope"`
	}
	if err := json.Unmarshal(req.Payload, &body); err != nil || body.Scope != "vm:write" || !isUUID(req.Account) {
		b.violate(req, "account_id must be a UUID and scope vm:write: %s", req.Payload)
		return nil, &EventError{Code: "invalid_request", Message: "account_id and scope are required"}
	}
	b.mu.Lock()
	decision, ok := b.decisions[req.Account]
	if !ok {
		decision = b.decisions[""]
	}
	b.mu.Unlock()
	return decision.payload(), nil
}

func (d Decision) payload() map[string]any {
	if d.Reason == "" {
		d.Reason = "billing_required"
		if d.Allowed {
			d.Reason = "billing_active"
		}
	}
	reply := map[string]any{
		"allowed": d.Allowed, "reason": d.Reason,
		"command": d.Command, "plan_id": d.PlanID, "recommended_plan": d.RecommendedPlan,
	}
	maps.DeleteFunc(reply, func(_ string, value any) bool { return value == "" })
	if len(d.Usage) > 0 {
		reply["usage"] = d.Usage
	}
	return reply
}

// isUUID is stricter than uuid.Parse, which also takes braces and URNs.
func isUUID(text string) bool {
	id, err := uuid.Parse(text)
	return err == nil && len(text) == len(id.String())
}
