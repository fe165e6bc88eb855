package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// StaticConfig configures NewStatic.
type StaticConfig struct {
	State      string        // the first; default ready
	Transition time.Duration // how long starting and stopping last; 0 is at once
}

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

// NewStatic returns a static backend in its first state.
func NewStatic(config StaticConfig) *Static {
	s := &Static{transition: config.Transition}
	s.latest.Store(newPhase(cmp.Or(config.State, "ready")))
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

// Latest returns the current state; another one is news.
func (s *Static) Latest() *News {
	p := s.now()
	now := *p.Seen
	now.AskedAt = time.Now()
	return &News{Seen: &now, Changed: p.ended}
}

// Apply starts the transition that op asks for. Asking for the state that is
// there, or already under way, changes nothing.
func (s *Static) Apply(_ context.Context, op lifecycle.Operation) (lifecycle.Outcome, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if state := s.now().State; state == op.Action.Target() || state == writes[op.Action].through {
		return lifecycle.Accepted, nil
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
	return lifecycle.Accepted, nil
}

// The others have nothing to do for a state in memory, which is never old.

func (s *Static) AcceptedAt(time.Time)                          {}
func (s *Static) Follow() (release func())                      { return func() {} }
func (s *Static) Reach(context.Context, lifecycle.Action) error { return nil }

func (s *Static) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
