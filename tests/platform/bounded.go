package platform

import (
	"context"
	"sync"
)

// bounded keeps the latest items, at least limit of them once it has seen so
// many. The zero limit keeps nothing.
type bounded[T any] struct {
	items []T
	limit int
}

func (b *bounded[T]) add(item T) {
	// Dropping half at a time keeps add amortised O(1).
	if len(b.items) >= 2*b.limit {
		kept := b.items[len(b.items)-b.limit:]
		b.items = append(make([]T, 0, 2*b.limit), kept...)
	}
	b.items = append(b.items, item)
}

// latest returns the last limit items, oldest first. The caller must not keep
// it past the lock that guards b.
func (b *bounded[T]) latest() []T {
	return b.items[max(0, len(b.items)-b.limit):]
}

// signal lets goroutines wait until a condition over guarded state holds.
// notify costs nothing while nobody waits.
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
