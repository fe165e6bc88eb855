package platform

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// event is an accepted event inside the Events API.
type event struct {
	seq  uint64
	wire wire
	line []byte // wire as JSON with its line end, shared and read-only
}

// wire is one event as the Events API sends it, one JSON document a line, with
// the members that only faults use.
type wire struct {
	// Padding comes first, so that no reader finds the id before the bulk.
	Padding       string          `json:"padding,omitempty"`
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	CorrelationID string          `json:"correlationId,omitempty"`
	Snake         string          `json:"correlation_id,omitempty"`
	Account       string          `json:"account"`
	CreatedAt     time.Time       `json:"createdAt"`
	Unknown       json.RawMessage `json:"x_future,omitempty"`
	Payload       json.RawMessage `json:"payload"`
	// Error is an event error: a string, or an object with type or code and
	// message. It may also be inside Payload.
	Error json.RawMessage `json:"error,omitempty"`
}

// encode renders w as one line. Marshal compacts the raw members, so no line
// feed of a publisher's JSON survives inside.
func (w wire) encode() []byte {
	line, err := json.Marshal(w)
	if err != nil {
		panic(err) // raw members were validated when the event was accepted
	}
	return append(line, '\n')
}

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
// no component may use here.
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
