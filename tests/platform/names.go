package platform

import (
	"regexp"
	"strings"
)

// The requests a provider makes. The reply to each is ReplyName of it.
const (
	StatusRequest      = "bus.vm.status.request"
	StartRequest       = "bus.vm.start.request"
	StopRequest        = "bus.vm.stop.request"
	EntitlementRequest = "bus.billing.entitlement.check.request"
	UsageRequest       = "bus.usage.record.request"
)

const (
	requestSuffix  = ".request"
	responseSuffix = ".response"
)

// ReplyName is the event name that answers a request: `.request` becomes
// `.response`.
func ReplyName(request string) string {
	return strings.TrimSuffix(request, requestSuffix) + responseSuffix
}

// protected maps a request to the one scope that publishing it and listening to
// it need; its reply needs the same.
var protected = map[string]string{
	StatusRequest:      "vm:read",
	StartRequest:       "vm:write",
	StopRequest:        "vm:write",
	EntitlementRequest: "billing:entitlement:check",
	UsageRequest:       "usage:write",
}

// neededScope returns the scope for name; general is that of unprotected names,
// events:send or events:listen. It is empty for a name of the platform that
// nobody may use here.
func neededScope(name, general string) string {
	if family, ok := strings.CutSuffix(name, responseSuffix); ok {
		name = family + requestSuffix
	}
	if scope, known := protected[name]; known || strings.HasPrefix(name, "bus.") {
		return scope
	}
	return general
}

// eventName is two or more parts with dots between them, without wildcards.
var eventName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)+$`)
