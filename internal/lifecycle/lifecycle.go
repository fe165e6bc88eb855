// Package lifecycle is the vocabulary of a write: what was asked, of whom, how
// it ended, and how the parts behind the gateway fail. It is shared by backend,
// billing, usage and outbox, and imports events to tell its failures.
package lifecycle

import "time"

// Runtime is the one runtime behind this gateway, as the platform names it.
const Runtime = "default"

// Action is a lifecycle write.
type Action string

// The lifecycle writes.
const (
	Start Action = "start"
	Stop  Action = "stop"
)

// Operation is one authorised lifecycle write.
type Operation struct {
	// ID is unique to this operation (a UUID); usage records and the
	// correlation with the worker derive from it.
	ID string
	// Action is what to do.
	Action Action
	// Account is the subject of the caller's token, a UUID where it is billed.
	Account string
	// RequestID is the X-Request-Id of the caller's request.
	RequestID string
	// RequestedAt is when the gateway took the operation on.
	RequestedAt time.Time
	// Late, when set, is called at most once, with the outcome that a reply
	// proved after the operation had ended as Unknown.
	Late func(Outcome)
}

// Outcome says how an operation ended.
type Outcome string

// The outcomes of a write.
const (
	Accepted Outcome = "accepted" // the runtime took the operation on
	Rejected Outcome = "rejected" // the runtime answered, and said no
	NotSent  Outcome = "not_sent" // the operation never reached the runtime
	// Unknown: the operation was sent, and no reply that can be read came back
	// in time; the runtime may still act on it.
	Unknown Outcome = "unknown"
)

// Known reports one of the outcomes above.
func (o Outcome) Known() bool {
	return o == Accepted || o == Rejected || o == NotSent || o == Unknown
}
