// Package backend answers for the runtime behind the gateway: a static one
// for local checks, or the real one through the Bus Events API.
//
// New is the factory of the modes. Other Fiber applications may bring their own
// Backend; routes needs nothing but this interface.
package backend

import (
	"context"
	"fmt"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// Backend reads and drives one runtime. All methods are safe for concurrent
// use. Their errors are an *lifecycle.Error where the caller may learn what went wrong;
// any other becomes a 500 and one log line.
type Backend interface {
	// See returns the status to be shown to a caller who asks now.
	See(ctx context.Context) (*Seen, error)

	// AcceptedAt says that a write was accepted at that time, perhaps by another process,
	// whose clock may differ a little: no See after it shows a state observed before it.
	AcceptedAt(at time.Time)

	// Latest returns at once the status that was seen last.
	Latest() *News

	// Follow has statuses be seen as if callers read all the time, until release
	// is called, once.
	Follow() (release func())

	// Reach returns an error when an operation of action could not be sent now.
	// It does nothing else, and may wait for a short while.
	Reach(ctx context.Context, action lifecycle.Action) error

	// Apply asks the runtime to carry out op and returns what became of it. The
	// error is nil exactly when the outcome is lifecycle.Accepted; no See after that
	// shows a state observed before it.
	Apply(ctx context.Context, op lifecycle.Operation) (lifecycle.Outcome, error)

	// Run does the background work until ctx ends, and returns after all of
	// its children. A nil error means that ctx ended it.
	Run(ctx context.Context) error
}

// Seen is a status as the runtime reported it, and News the latest for those who follow.
type (
	Seen = snapshot.Seen
	News = snapshot.News
)

// The modes of New.
const (
	ModeStatic = "static"
	ModeEvents = "events"
)

// Config is of the modes; only the part of the chosen one counts.
type Config struct {
	Static StaticConfig
	Events EventsConfig
}

// New returns the backend of a mode.
func New(mode string, config Config) (Backend, error) {
	switch mode {
	case ModeStatic:
		return NewStatic(config.Static), nil
	case ModeEvents:
		return NewEvents(config.Events), nil
	}
	return nil, fmt.Errorf("unknown backend mode %q", mode)
}
