package events

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// TestPending compares the pending requests with a plain account of what
// happened, and holds them to one reply a request.
func TestPending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pending{waiting: make(map[string]*call)}
		now := time.Unix(1e9, 0)
		calls := make(map[string]*call)
		// What the next reply to an id is, "" where nothing is known of it.
		state, yes := make(map[string]string), make(map[string]bool)
		id := func() string { return fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id")) }

		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := &call{Request: Request{CorrelationID: id()}, began: now}
				if ok := p.add(c); ok != (state[c.CorrelationID] != matched) {
					t.Fatalf("add(%s) = %v while %s", c.CorrelationID, ok, state[c.CorrelationID])
				} else if ok {
					calls[c.CorrelationID], state[c.CorrelationID] = c, matched
				}
			},
			"give up": func(t *rapid.T) {
				id := id()
				c := calls[id]
				if c == nil {
					return
				}
				if got := p.waits(c); got != (state[id] == matched) {
					t.Fatalf("waits(%s) = %v while %s", id, got, state[id])
				}
				if got := p.giveUp(c); got != (state[id] == matched) {
					t.Fatalf("giveUp(%s) = %v while %s", id, got, state[id])
				} else if got {
					state[id] = late
				}
			},
			"reply": func(t *rapid.T) {
				id := id()
				was, c := state[id], calls[id]
				answer := rapid.SampledFrom([]error{nil, ErrMalformed, &RemoteError{"no", "no"}}).Draw(t, "err")
				replayed := rapid.Bool().Draw(t, "replayed")
				decoded := 0
				if c != nil {
					c.Decode = func(Envelope) error { decoded++; return answer }
				}
				got := p.deliver(Envelope{CorrelationID: id, Replayed: replayed})
				want, seen := was, was != matched && (was != duplicate || !yes[id])
				if was == "" {
					want = map[bool]string{false: unmatched, true: history}[replayed]
				}
				if got != (fate{want, seen}) {
					t.Fatalf("a reply to %s was %v while %s", id, got, was)
				}
				if (decoded == 1) != (was == matched) || was == matched && len(c.done) != 1 {
					t.Fatalf("a reply to %s was decoded %d times while %s", id, decoded, was)
				}
				switch {
				case was != matched:
				case errors.Is(answer, ErrMalformed):
					state[id] = late
				default:
					state[id], yes[id] = duplicate, answer == nil
				}
			},
			"": func(t *rapid.T) {
				waiting := 0
				for _, s := range state {
					if s == matched {
						waiting++
					}
				}
				if len(p.waiting) != waiting {
					t.Fatalf("%d wait, want %d", len(p.waiting), waiting)
				}
				if got := len(p.wanted(now.Add(1))); got != waiting {
					t.Fatalf("%d are wanted, not %d", got, waiting)
				}
				if len(p.wanted(now)) != 0 {
					t.Fatal("something is wanted from before everything")
				}
			},
		})
	})
}

func TestRecent(t *testing.T) {
	var r recent[int]
	for i := 1; i <= 5*remembered; i++ {
		r.put(fmt.Sprint(i), i)
		for _, j := range []int{i, i - remembered + 1, i - 2*remembered} {
			if got := r.get(fmt.Sprint(j)); j > 0 && (got != 0 && got != j || got == 0 != (j == i-2*remembered)) {
				t.Fatalf("after %d: get(%d) = %d", i, j, got)
			}
		}
	}
	last := fmt.Sprint(5 * remembered)
	r.put(last, 1)
	assert.Equal(t, 1, r.get(last), "the second value")
	r.remove(last)
	assert.Zero(t, r.get(last), "it was not removed")
}
