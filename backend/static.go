package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// StaticConfig configures the static backend.
type StaticConfig struct {
	// State is the first state; default ready.
	State string
	// Transition is how long starting and stopping last; default 0, at once.
	Transition time.Duration
	// Details is a JSON object shown with every state; nil for none.
	Details json.RawMessage
}

// staticProvider is what status.provider says: no real machine answers here.
const staticProvider = "static"

// Static answers for a runtime that exists in memory only, deterministically:
// stop leads to stopped and start to ready, through stopping and starting
// while a transition is configured.
type Static struct {
	config   StaticConfig
	document atomic.Pointer[[]byte]

	mu    sync.Mutex // guards what follows, and the order of document's changes
	state string
	timer *time.Timer // ends the transition under way; nil when at rest
	moves uint64      // counts transitions, so that an overtaken timer does nothing
}

// NewStatic returns a static backend in its first state, or an error for
// details that are no JSON object.
func NewStatic(config StaticConfig) (*Static, error) {
	if config.State == "" {
		config.State = "ready"
	}
	if config.Details != nil {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(config.Details, &object); err != nil || object == nil {
			return nil, fmt.Errorf("static details are not a JSON object")
		}
	}
	s := &Static{config: config}
	s.enter(config.State)
	return s, nil
}

// Status returns the document of the current state.
func (s *Static) Status(context.Context) ([]byte, error) { return *s.document.Load(), nil }

// Reach finds a runtime in memory always.
func (s *Static) Reach(context.Context, Action) error { return nil }

// Apply starts the transition that op asks for. Asking for the state that is
// there, or already under way, changes nothing.
func (s *Static) Apply(_ context.Context, op Operation) (Outcome, error) {
	through, to := "starting", targets[op.Action]
	if op.Action == Stop {
		through = "stopping"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == to || s.state == through {
		return Accepted, nil
	}
	s.settle()
	if s.config.Transition <= 0 {
		s.enter(to)
		return Accepted, nil
	}
	s.enter(through)
	s.moves++
	move := s.moves
	s.timer = time.AfterFunc(s.config.Transition, func() { s.arrive(move, to) })
	return Accepted, nil
}

// arrive ends transition move, unless another write overtook it.
func (s *Static) arrive(move uint64, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moves == move && s.timer != nil {
		s.timer = nil
		s.enter(state)
	}
}

// settle forgets the transition under way. The caller holds mu.
func (s *Static) settle() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// enter shows state from now on. The caller holds mu, or is alone.
func (s *Static) enter(state string) {
	s.state = state
	status := snapshot.Status{State: state, Provider: staticProvider, Details: s.config.Details}
	document, err := status.Render()
	if err != nil {
		panic(fmt.Sprintf("render a status of checked parts: %v", err))
	}
	s.document.Store(&document)
}

// Run waits for ctx and ends the transition under way.
func (s *Static) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	return nil
}
