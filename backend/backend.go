// Package backend answers for the runtime behind the gateway: a static one
// for local checks, or the real one through the Bus Events API.
//
// Other Fiber applications may bring their own Backend; routes needs nothing but
// this interface.
package backend

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// Backend reads and drives one runtime. All methods are safe for concurrent
// use. Their errors are an *Error where the caller may learn what went wrong;
// any other becomes a 500 and one log line.
type Backend interface {
	// See returns the status to be shown to a caller who asks now.
	See(ctx context.Context) (*Seen, error)

	// AcceptedAt says that a write was accepted at that time, perhaps by another process,
	// whose clock may differ a little: no See after it shows a state observed before it.
	AcceptedAt(at time.Time)

	// Latest returns the status that was seen last, nil for none that was asked for
	// after the last write that is known to be accepted, and a channel that is closed
	// when the next one is seen, which may say the same.
	Latest() (seen *Seen, changed <-chan struct{})

	// Follow has statuses be seen as if callers read all the time, until release
	// is called, once.
	Follow() (release func())

	// Reach returns an error when an operation of action could not be sent now.
	// It does nothing else, and may wait for a short while.
	Reach(ctx context.Context, action Action) error

	// Apply asks the runtime to carry out op and returns what became of it. The
	// error is nil exactly when the outcome is Accepted; no See after that
	// shows a state observed before it.
	Apply(ctx context.Context, op Operation) (Outcome, error)

	// Run does the background work until ctx ends, and returns after all of
	// its children. A nil error means that ctx ended it.
	Run(ctx context.Context) error
}

// Seen is a status as the runtime reported it.
type Seen = snapshot.Seen

// The vocabulary of a write, where other applications can import it.
type (
	Operation = lifecycle.Operation
	Action    = lifecycle.Action
	Outcome   = lifecycle.Outcome
	Error     = lifecycle.Error
	Denial    = lifecycle.Denial

	Entitlement = lifecycle.Entitlement
)

// Its values: the actions, the outcomes, the kinds of Error, and the platform's
// reasons for a Denied.
const (
	Start = lifecycle.Start
	Stop  = lifecycle.Stop

	Accepted = lifecycle.Accepted
	Rejected = lifecycle.Rejected
	NotSent  = lifecycle.NotSent
	Unknown  = lifecycle.Unknown

	Unavailable = lifecycle.Unavailable
	Malformed   = lifecycle.Malformed
	Rejection   = lifecycle.Rejection
	Denied      = lifecycle.Denied

	BillingRequired = lifecycle.BillingRequired
	QuotaExceeded   = lifecycle.QuotaExceeded
)

// Static answers for a runtime that exists in memory only, deterministically:
// stop leads to stopped and start to ready, through stopping and starting
// while a transition is configured.
type Static struct {
	transition time.Duration
	latest     atomic.Pointer[phase]
	applying   sync.Mutex // orders the changes of latest
}

// phase is a state, and the one that follows it.
type phase struct {
	*Seen
	until time.Time // when next follows, if there is one
	next  *phase
	ended <-chan struct{}
	end   context.CancelFunc // closes ended
}

// NewStatic returns a static backend in its first state. Starting and stopping last
// for transition; 0 is at once.
func NewStatic(state string, transition time.Duration) *Static {
	s := &Static{transition: transition}
	s.latest.Store(newPhase(state))
	return s
}

// newPhase is a state with empty details, as in the platform's example.
func newPhase(state string) *phase {
	status := snapshot.Status{State: state, Provider: "static", Details: json.RawMessage("{}")}
	seen, _ := status.See(time.Now()) // there is nothing in it that JSON cannot show
	over, end := context.WithCancel(context.Background())
	return &phase{Seen: seen, ended: over.Done(), end: end}
}

func (s *Static) now() *phase {
	p := s.latest.Load()
	if p.next != nil && !time.Now().Before(p.until) {
		return p.next
	}
	return p
}

// See returns the current state.
func (s *Static) See(context.Context) (*Seen, error) { return s.now().Seen, nil }

// Latest returns the current state, and a channel that is closed when it is another.
func (s *Static) Latest() (seen *Seen, changed <-chan struct{}) {
	p := s.now()
	now := *p.Seen
	now.AskedAt = time.Now()
	return &now, p.ended
}

// Apply starts the transition that op asks for. Asking for the state that is
// there, or already under way, changes nothing.
func (s *Static) Apply(_ context.Context, op Operation) (Outcome, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if state := s.now().State; state == op.Action.Target() || state == writes[op.Action].through {
		return Accepted, nil
	}
	p := newPhase(op.Action.Target())
	if s.transition > 0 {
		under := newPhase(writes[op.Action].through)
		under.next, under.until = p, time.Now().Add(s.transition)
		time.AfterFunc(s.transition, under.end)
		p = under
	}
	before := s.now()
	s.latest.Store(p)
	before.end()
	return Accepted, nil
}

// The others have nothing to do for a state in memory, which is never old.

func (s *Static) AcceptedAt(time.Time)                {}
func (s *Static) Follow() (release func())            { return func() {} }
func (s *Static) Reach(context.Context, Action) error { return nil }

func (s *Static) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
