package platform_test

import (
	"encoding/json"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// asker plays the provider: it publishes requests and reads replies.
type asker struct {
	t       *testing.T
	p       *platform.Platform
	client  *platform.Client
	replies map[string]*reader
}

func newAsker(t *testing.T, p *platform.Platform) *asker {
	t.Helper()
	a := &asker{t: t, p: p, client: client(t, p.Events, platform.Claims{Scope: platform.ProviderScope}),
		replies: map[string]*reader{}}
	for _, name := range []string{platform.StatusRequest, platform.StartRequest, platform.StopRequest,
		platform.EntitlementRequest, platform.UsageRequest} {
		a.replies[name] = listen(t, p.Events, "name="+platform.ReplyName(name))
	}
	return a
}

// publish sends a well-formed request of name under correlation.
func (a *asker) publish(name, correlation string) {
	a.t.Helper()
	payload := map[string]any{"runtime": "default"}
	switch name {
	case platform.StartRequest, platform.StopRequest:
		payload["account_id"], payload["request_id"] = account, "r-"+correlation
	case platform.EntitlementRequest:
		payload = map[string]any{"account_id": account, "scope": "vm:write"}
	case platform.UsageRequest:
		payload = usagePayload("e-"+correlation, "runtime_start_requested", "r-"+correlation)
	}
	send(a.t, a.client, name, correlation, payload)
}

func usagePayload(eventID, eventType, requestID string) map[string]any {
	data := map[string]any{"request_id": requestID, "action": "start", "runtime": "default"}
	switch eventType {
	case "runtime_start_finished":
		data["outcome"] = "accepted"
	case "runtime_start_failed":
		data["outcome"] = "unknown"
	}
	return map[string]any{
		"event_id": eventID, "event_type": eventType, "account_id": account,
		"occurred_at": "2026-01-02T03:04:05.678Z", "data": data,
	}
}

// reply is what matters of a reply envelope.
type reply struct {
	CorrelationID string
	Payload       any
	Error         any
}

func (a *asker) next(name string) reply {
	a.t.Helper()
	var r reply
	must(a.t, json.Unmarshal([]byte(a.replies[name].next(a.t)), &r))
	return r
}

// ask is publish and next.
func (a *asker) ask(name, correlation string) reply {
	a.t.Helper()
	a.publish(name, correlation)
	return a.next(name)
}

type object = map[string]any
