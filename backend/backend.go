// Package backend answers for the runtime behind the gateway: a static one
// for local checks, or the real one through the Bus Events API.
//
// New is the factory of the modes. Other Fiber applications may bring their
// own Backend; routes needs nothing but this interface.
package backend

import (
	"context"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// Error is what a Backend returns when it knows what the caller should read;
// any other error becomes a 500 and one log line.
type Error = apierror.Error

// Backend reads and drives one runtime. All methods are safe for concurrent use.
type Backend interface {
	// Status returns the JSON document {"status":{…}} of the latest snapshot.
	// The bytes are shared: the caller must not change them.
	Status(ctx context.Context) ([]byte, error)

	// Reach returns an error when an operation of action could not be sent now.
	// It does nothing else, and may wait for a short while.
	Reach(ctx context.Context, action Action) error

	// Apply asks the runtime to carry out op and returns once it accepted.
	// No Status after that shows a state observed before it. An *Error with
	// OutcomeUnknown means that the runtime may act on it all the same.
	Apply(ctx context.Context, op Operation) error

	// Run does the background work until ctx ends, and returns after all of
	// its children. A nil error means that ctx ended it.
	Run(ctx context.Context) error
}

// Operation is one authorised lifecycle write, Action what it asks for, and
// Outcome how it ended.
type (
	Operation = lifecycle.Operation
	Action    = lifecycle.Action
	Outcome   = lifecycle.Outcome
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
	Unknown  = lifecycle.Unknown  // sent, and nothing that makes sense came back in time
)
