package events

import (
	"slices"
	"strings"
)

// The requests this gateway publishes. ReplyName names the event that answers.
const (
	StatusRequest      = "bus.vm.status.request"
	StartRequest       = "bus.vm.start.request"
	StopRequest        = "bus.vm.stop.request"
	EntitlementRequest = "bus.billing.entitlement.check.request"
	UsageRequest       = "bus.usage.record.request"
)

// ReplyName is the event that answers request: `.request` becomes `.response`.
func ReplyName(request string) string {
	return strings.TrimSuffix(request, ".request") + ".response"
}

// scopes lists what the Events API asks for, by the prefix of an event name.
var scopes = []struct{ prefix, scope string }{
	{"bus.vm.status.", "vm:read"},
	{"bus.vm.start.", "vm:write"},
	{"bus.vm.stop.", "vm:write"},
	{"bus.usage.", "usage:write"},
	{"bus.billing.entitlement.", "billing:entitlement:check"},
}

// ScopesFor lists the scopes that the provider token needs in order to publish
// and to subscribe to the named events, sorted and each once.
func ScopesFor(names ...string) []string {
	var need []string
	for _, s := range scopes {
		for _, name := range names {
			if strings.HasPrefix(name, s.prefix) {
				need = append(need, s.scope)
			}
		}
	}
	slices.Sort(need)
	return slices.Compact(need)
}
