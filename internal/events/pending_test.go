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

func TestRemembered(t *testing.T) {
	p := &pending{waiting: make(map[string]*call)}
	ended := func(i int) { // a request, without a reply
		c := &call{Request: Request{CorrelationID: fmt.Sprint(i)}}
		p.add(c)
		p.giveUp(c)
	}
	kind := func(i int) string { return p.deliver(Envelope{CorrelationID: fmt.Sprint(i)}).kind }
	const last = 5 * remembered
	for i := 1; i <= last; i++ {
		ended(i)
		for _, j := range []int{i, i - remembered + 1} {
			if j > 0 && kind(j) != late {
				t.Fatalf("after %d: %d is %s", i, j, kind(j))
			}
		}
		if j := i - 2*remembered; j > 0 && kind(j) != unmatched {
			t.Fatalf("after %d: %d is %s", i, j, kind(j))
		}
	}
	p.add(&call{Request: Request{CorrelationID: fmt.Sprint(last), Decode: func(Envelope) error { return nil }}})
	assert.Equal(t, matched, kind(last), "the second request of an id")
	assert.Equal(t, duplicate, kind(last))
}
