package lifecycle

import (
	"errors"
	"slices"
	"time"
)

// Write is an operation that is to be recorded.
type Write struct {
	Operation
	// Key is the caller's idempotency key, empty for none; Join says that the
	// caller waits. With either, a start may join one that is under way.
	Key  string
	Join bool
	Entitlement
}

// MayMeet reports whether w may have the operation of another write.
func (w Write) MayMeet() bool { return w.Key != "" || w.Action == Start && w.Join }

// Entitlement is what billing says to an account that may act; Reason is empty
// only where billing was not asked.
type Entitlement struct {
	Reason string `json:"reason"`
	PlanID string `json:"plan_id,omitempty"`
}

// Decision is what became of a Write.
type Decision int

const (
	Lead     Decision = iota // it was inserted: publish it
	Joined                   // it was inserted, and has the outcome of another start
	Attached                 // it was not inserted: it is the caller's own start that is under way
	Known                    // it was not inserted: the key has been used for the operation
	New                      // it was not inserted, and has the operation of no other
)

// Decided is a decision with the operation that it is about.
type Decided struct {
	Decision
	Receipt
	Permit func() error // of a Lead, see Operation.Permit
}

// Receipt is what is on record of an operation, and in JSON what its account may read of
// that. Times are those of the record's clock, zero for none.
type Receipt struct {
	Sequence    int64     `json:"-"` // grows with each operation that is requested
	ID          string    `json:"id"`
	Action      Action    `json:"action"` // empty for an id that is taken and has no records
	Account     string    `json:"-"`
	RequestID   string    `json:"request_id"`
	RequestedAt time.Time `json:"requested_at"`
	ClosesAt    time.Time `json:"-"`
	AcceptedAt  time.Time `json:"accepted_at,omitzero"`
	ReachedAt   time.Time `json:"reached_at,omitzero"`
	EndedAt     time.Time `json:"-"`
	Leader      string    `json:"-"`                 // the id of the operation that it joined
	Outcome     Outcome   `json:"outcome,omitempty"` // empty while it has no end
	Corrected   bool      `json:"-"`                 // it was unknown before

	Entitlement  `json:"entitlement,omitzero"`
	ErrorType    string `json:"-"` // of a rejection
	ErrorMessage string `json:"-"`

	Usage []Delivery `json:"usage"` // in their order
}

// Stage grows with each change of the operation.
func (r *Receipt) Stage() int {
	switch {
	case !r.ReachedAt.IsZero():
		return 3
	case r.Corrected:
		return 2
	case r.Outcome != "":
		return 1
	}
	return 0
}

// Supersedes reports whether r and other were accepted and lead to different
// states, and r was requested later, and accepted no earlier.
func (r Receipt) Supersedes(other Receipt) bool {
	return r.Outcome == Accepted && r.Action != other.Action && r.Sequence > other.Sequence &&
		!other.AcceptedAt.IsZero() && !r.AcceptedAt.Before(other.AcceptedAt)
}

// Delivery is where a usage record of an operation is.
type Delivery struct {
	EventID     string    `json:"event_id"`
	EventType   string    `json:"event_type"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"` // zero before, and where it was dropped
}

var (
	// ErrUnconfirmed: a write may be there, or still come to be.
	ErrUnconfirmed = errors.New("the operations store has not confirmed a write")
	// ErrTooManyKeys: the account has used too many idempotency keys.
	ErrTooManyKeys = errors.New("too many idempotency keys")
	// ErrFull: a store in memory holds nothing that may be forgotten. No other write has
	// the key of this one, and nothing of it was written.
	ErrFull = errors.New("the operations store is full")
)

// MaxTimes is how many times an estimate is made of; fewer than minTimes make none.
const MaxTimes, minTimes = 20, 3

// Estimate is how long a start takes from its acceptance until the runtime is
// ready; without samples there is none.
type Estimate struct {
	P50, P90 time.Duration
	Samples  int
}

// NewEstimate takes the nearest ranks of the last times: of 20, the 11th and the
// 19th.
func NewEstimate(times []time.Duration) Estimate {
	n := len(times)
	if n < minTimes {
		return Estimate{}
	}
	sorted := slices.Sorted(slices.Values(times))
	return Estimate{P50: sorted[n/2], P90: sorted[n*9/10], Samples: n}
}
