package usage

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

func TestMemory(t *testing.T) {
	one, two := operation("1", lifecycle.Start), operation("2", lifecycle.Stop)
	requested := func(op lifecycle.Operation) func(*Memory) error {
		return func(m *Memory) error { return m.Requested(t.Context(), op) }
	}
	ended := func(op lifecycle.Operation, outcome lifecycle.Outcome) func(*Memory) error {
		return func(m *Memory) error { return m.Ended(op, outcome, time.Second) }
	}
	end := func(op lifecycle.Operation, outcome lifecycle.Outcome) Record {
		return NewEnded(op, outcome, time.Second, time.Now())
	}
	many := func(m *Memory) error {
		for i := range memoryRecords - 2 {
			_ = m.Requested(t.Context(), operation("many "+strconv.Itoa(i), lifecycle.Start))
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) { // whose clock stands still
		for name, c := range map[string]struct {
			steps []func(*Memory) error
			want  []Record // the last ones
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
				[]func(*Memory) error{requested(one), many, requested(two), ended(one, lifecycle.NotSent), ended(two, lifecycle.Accepted)},
				[]Record{NewRequested(two), end(one, lifecycle.NotSent), end(two, lifecycle.Accepted)},
			},
		} {
			var m Memory
			for _, step := range c.steps {
				require.NoError(t, step(&m))
			}
			got := m.Records()
			if name == "the oldest goes" {
				assert.Len(t, got, memoryRecords)
				assert.NotContains(t, got, NewRequested(one))
				got = got[len(got)-len(c.want):]
			}
			assert.Equal(t, c.want, got, name)
		}
	})
}
