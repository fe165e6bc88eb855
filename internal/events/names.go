package events

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/VictoriaMetrics/metrics"
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

// scopes lists what the Events API asks for, by the request that an event is or answers.
var scopes = map[string]string{
	StatusRequest: "vm:read", StartRequest: "vm:write", StopRequest: "vm:write",
	UsageRequest: "usage:write", EntitlementRequest: "billing:entitlement:check",
}

// ScopesFor lists the scopes that the provider token needs in order to publish
// and to subscribe to the named events, sorted and each once.
func ScopesFor(names ...string) (need []string) {
	for request, scope := range scopes {
		if slices.Contains(names, request) || slices.Contains(names, ReplyName(request)) {
			need = append(need, scope)
		}
	}
	slices.Sort(need)
	return slices.Compact(need)
}

// collectionPath is the resource of the Events API that publishes and streams.
const collectionPath = "/api/v1/events"

// ErrURL means that a URL cannot be that of an Events API. The URL itself is
// not repeated: it may hold a password.
var ErrURL = errors.New("the Events URL must be an absolute http or https URL without user, query or fragment")

// CollectionURL turns what operators write, the root of the service, a root
// with a path or the collection itself, into the collection's URL without a
// trailing slash. Its error is ErrURL.
func CollectionURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return "", ErrURL
	}
	root := strings.TrimRight(u.EscapedPath(), "/")
	if !strings.HasSuffix(root, collectionPath) {
		root += collectionPath
	}
	return u.Scheme + "://" + u.Host + root, nil
}

// counters registers a counter for each value of the label that format names.
func counters(set *metrics.Set, format string, values ...string) map[string]*metrics.Counter {
	all := make(map[string]*metrics.Counter)
	for _, value := range values {
		all[value] = set.GetOrCreateCounter(fmt.Sprintf("bus_vm_events_"+format, value))
	}
	return all
}
