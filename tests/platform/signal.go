package platform

import (
	"context"
	"sync"
)

// signal lets goroutines wait until a condition over guarded state holds.
type signal struct {
	mu     sync.Mutex
	change chan struct{}
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

func (s *signal) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == nil {
		s.change = make(chan struct{})
	}
	return s.change
}

// wait returns nil once holds does, or the error of ctx. Whatever changes the
// condition must notify after the change.
func (s *signal) wait(ctx context.Context, holds func() bool) error {
	for {
		changed := s.changed()
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
