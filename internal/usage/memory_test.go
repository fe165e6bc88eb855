package usage

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// recorder is what routes asks of a recorder.
type recorder interface {
	Requested(ctx context.Context, op lifecycle.Operation) error
	Ended(op lifecycle.Operation, outcome lifecycle.Outcome, took time.Duration) error
}

var _ recorder = (*Memory)(nil)

var at = time.Date(2026, 11, 23, 18, 15, 7, 0, time.UTC)

func newMemory(limit int) *Memory {
	m := NewMemory(func() time.Time { return at })
	m.limit = limit
	return m
}

func TestMemory(t *testing.T) {
	one, two := operation("1", lifecycle.Start), operation("2", lifecycle.Stop)
	requested := func(op lifecycle.Operation) func(*Memory) error {
		return func(m *Memory) error { return m.Requested(t.Context(), op) }
	}
	ended := func(op lifecycle.Operation, outcome lifecycle.Outcome) func(*Memory) error {
		return func(m *Memory) error { return m.Ended(op, outcome, time.Second) }
	}
	end := func(op lifecycle.Operation, outcome lifecycle.Outcome) Record {
		return NewEnded(op, outcome, time.Second, at)
	}
	for name, c := range map[string]struct {
		steps []func(*Memory) error
		want  []Record
	}{
		"nothing": {nil, []Record{}},
		"a pair": {
			[]func(*Memory) error{requested(one), ended(one, lifecycle.Accepted)},
			[]Record{NewRequested(one), end(one, lifecycle.Accepted)},
		},
		"an unknown outcome becomes known, in its place": {
			[]func(*Memory) error{requested(one), ended(one, lifecycle.Unknown), requested(two), ended(one, lifecycle.Accepted)},
			[]Record{NewRequested(one), end(one, lifecycle.Accepted), NewRequested(two)},
		},
		"a known outcome stays": {
			[]func(*Memory) error{requested(one), ended(one, lifecycle.Rejected), ended(one, lifecycle.Accepted)},
			[]Record{NewRequested(one), end(one, lifecycle.Rejected)},
		},
		"the oldest goes": {
			[]func(*Memory) error{requested(one), requested(two), ended(one, lifecycle.NotSent), ended(two, lifecycle.Accepted)},
			[]Record{NewRequested(two), end(one, lifecycle.NotSent), end(two, lifecycle.Accepted)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(3)
			for _, step := range c.steps {
				if err := step(m); err != nil {
					t.Fatal(err)
				}
			}
			if got := m.Records(); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}
