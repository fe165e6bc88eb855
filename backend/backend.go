// Package backend answers for the runtime behind the gateway: a static one
// for local checks, or the real one through the Bus Events API.
//
// New is the factory of the modes. Other Fiber applications may bring their
// own Backend; routes needs nothing but this interface.
package backend

import (
	"context"
	"fmt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// Backend reads and drives one runtime. All methods are safe for concurrent
// use. Their errors are an *Error where the caller can be told what went wrong;
// any other becomes a 500 and one log line.
type Backend interface {
	// Status returns the JSON document {"status":{…}} of the latest snapshot.
	// The bytes are shared: the caller must not change them.
	Status(ctx context.Context) ([]byte, error)

	// Reach returns an error when an operation of action could not be sent now.
	// It does nothing else, and may wait for a short while.
	Reach(ctx context.Context, action Action) error

	// Apply asks the runtime to carry out op and returns what became of it. The
	// error is nil exactly when the outcome is Accepted; no Status after that
	// shows a state observed before it.
	Apply(ctx context.Context, op Operation) (Outcome, error)

	// Run does the background work until ctx ends, and returns after all of
	// its children. A nil error means that ctx ended it.
	Run(ctx context.Context) error
}

// Operation is one authorised lifecycle write, Action what it asks for, and
// Outcome how it ended. Error is how the runtime, or billing, fails.
type (
	Operation = lifecycle.Operation
	Action    = lifecycle.Action
	Outcome   = lifecycle.Outcome
	Error     = lifecycle.Error
	Kind      = lifecycle.Kind
)

// The lifecycle writes.
const (
	Start = lifecycle.Start
	Stop  = lifecycle.Stop
)

// The outcomes of a write.
const (
	Accepted = lifecycle.Accepted // the runtime took the operation on
	Rejected = lifecycle.Rejected // the runtime answered, and said no
	NotSent  = lifecycle.NotSent  // the operation never reached the runtime
	Unknown  = lifecycle.Unknown  // sent, and no reply that can be read came back in time
)

// The kinds of Error.
const (
	Unavailable = lifecycle.Unavailable // no answer came, or the request could not be sent
	Malformed   = lifecycle.Malformed   // the answer cannot be read
	Rejection   = lifecycle.Rejection   // the answer is an error of the integration's own
	Denied      = lifecycle.Denied      // billing does not allow it
)

// The platform's reasons for a Denied.
const (
	BillingRequired = lifecycle.BillingRequired
	QuotaExceeded   = lifecycle.QuotaExceeded
)

// The modes of New.
const (
	ModeStatic = "static"
	ModeEvents = "events"
)

// Config configures New; only the part of the chosen mode counts.
type Config struct {
	Static StaticConfig
	Events EventsConfig
}

// New returns the backend of mode.
func New(mode string, config Config) (Backend, error) {
	switch mode {
	case ModeStatic:
		return NewStatic(config.Static)
	case ModeEvents:
		return NewEvents(config.Events), nil
	}
	return nil, fmt.Errorf("unknown backend mode %q", mode)
}
