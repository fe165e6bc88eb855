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
// happened, and holds them to one reply a request and to bounded memory.
func TestPending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const wanted = 10 * time.Second
		p := &pending{waiting: make(map[string]*call)}
		now := time.Unix(1e9, 0)
		calls := make(map[string]*call)
		state, yes := make(map[string]string), make(map[string]bool)
		id := func() string { return fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id")) }
		step := func() time.Time { now = now.Add(time.Second); return now }

		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := &call{id: id(), began: now, late: func(result) {}}
				if ok := p.add(c); ok != (state[c.id] != matched) {
					t.Fatalf("add(%s) = %v while %s", c.id, ok, state[c.id])
				} else if ok {
					calls[c.id], state[c.id] = c, matched
				}
			},
			"remove": func(t *rapid.T) {
				id := id()
				if c := calls[id]; c != nil && p.giveUp(c, time.Time{}) != (state[id] == matched) {
					t.Fatalf("remove(%s) while %s", id, state[id])
				} else if c != nil && state[id] == matched {
					delete(state, id)
					delete(calls, id)
				}
			},
			"give up": func(t *rapid.T) {
				id := id()
				if c := calls[id]; c != nil && p.giveUp(c, step().Add(wanted)) != (state[id] == matched) {
					t.Fatalf("giveUp(%s) while %s", id, state[id])
				} else if c != nil && state[id] == matched {
					state[id] = givenUp
				}
			},
			"reply": func(t *rapid.T) {
				id := id()
				was, c, until := state[id], calls[id], time.Time{}
				answer := rapid.SampledFrom([]error{nil, ErrMalformed, &RemoteError{"no", "no"}}).Draw(t, "err")
				replayed := rapid.Bool().Draw(t, "replayed")
				decoded, got := 0, 0
				if c != nil {
					until = c.until
					c.decode = func(Envelope) result { decoded++; return result{nil, answer} }
					got = len(c.done)
				}
				d := p.deliver(Envelope{CorrelationID: id}, step(), wanted, replayed)
				kind, observe, tell := d.kind, d.observe, d.tell
				want, open := was, was == matched || was == givenUp
				switch {
				case !open && replayed:
					want = history
				case was == "":
					want = unmatched
				case was == givenUp:
					want = late
				}
				if kind != want || decoded != map[bool]int{true: 1}[open] {
					t.Fatalf("a reply to %s was %s, and decoded %d times, while %s", id, kind, decoded, was)
				}
				if observe != (kind == unmatched || kind == duplicate && !yes[id]) {
					t.Fatalf("observe %v while %s is %s", observe, id, was)
				}
				malformed := errors.Is(answer, ErrMalformed)
				if (tell != nil) != (kind == late && !malformed && !now.After(until)) {
					t.Fatalf("tell %v of %v while %s is %s until %v at %v", tell != nil, answer, id, was, until, now)
				}
				if !open {
					return
				}
				if kind == matched && len(c.done) != 1 || kind == late && len(c.done) != got {
					t.Fatalf("%d replies wait for the caller of %s, which was %s", len(c.done), id, was)
				}
				if state[id], yes[id] = duplicate, answer == nil; malformed {
					state[id] = givenUp
				}
			},
			"": func(t *rapid.T) {
				waiting, open := 0, 0
				for id, c := range calls {
					if state[id] == matched {
						waiting++
					}
					if state[id] == matched || state[id] == givenUp && now.Before(c.until) {
						open++
					}
				}
				if len(p.waiting) != waiting {
					t.Fatalf("%d wait, want %d", len(p.waiting), waiting)
				}
				if got := len(p.wanted(now.Add(1), now)); got != open {
					t.Fatalf("%d are wanted, not %d", got, open)
				}
				if len(p.wanted(time.Unix(1e9, 0), now)) != 0 {
					t.Fatal("something is wanted from before everything")
				}
			},
		})
	})
}

// givenUp is what a late reply's request is until it comes.
const givenUp = "given up"

func TestRecent(t *testing.T) {
	var r recent[int]
	for i := range 5 * remembered {
		r.put(fmt.Sprint(i), i)
		for _, j := range []int{i, i - remembered + 1, i - 2*remembered} {
			if got, ok := r.get(fmt.Sprint(j)); j >= 0 && (ok && got != j || ok != (j > i-2*remembered)) {
				t.Fatalf("after %d: get(%d) = %d, %v", i, j, got, ok)
			}
		}
	}
	last := fmt.Sprint(5*remembered - 1)
	r.put(last, 1)
	got, _ := r.get(last)
	assert.Equal(t, 1, got, "the second value")
	r.remove(last)
	_, ok := r.get(last)
	assert.False(t, ok, "it was not removed")
}
