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

// protected maps the events of a family to the one scope that both publishing
// and listening need.
var protected = map[string]string{
	"bus.vm.status":                 "vm:read",
	"bus.vm.start":                  "vm:write",
	"bus.vm.stop":                   "vm:write",
	"bus.billing.entitlement.check": "billing:entitlement:check",
	"bus.usage.record":              "usage:write",
}

// neededScope returns the scope for name, or false for a protected name that
// nobody may touch here. general is the scope of unprotected names:
// events:send or events:listen.
func neededScope(name, general string) (string, bool) {
	family, ok := strings.CutSuffix(name, requestSuffix)
	if !ok {
		family, ok = strings.CutSuffix(name, responseSuffix)
	}
	if scope, known := protected[family]; ok && known {
		return scope, true
	}
	return general, !strings.HasPrefix(name, "bus.")
}

var (
	eventName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)+$`)
	groupName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// checkName returns why name is no event name, or "".
func checkName(name string) string {
	switch {
	case name == "":
		return "An event name is required."
	case strings.ContainsAny(name, "*>#?"):
		return "Wildcards are not allowed: one event name a stream."
	case !eventName.MatchString(name):
		return "An event name is two or more dot-separated parts of a-z, 0-9, '-' and '_'."
	}
	return ""
}
