package events

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPending compares the pending requests with a plain account of what
// happened, and holds them to one reply a request and to bounded memory.
func TestPending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const wanted = 10 * time.Second
		p := newPending()
		now := time.Unix(1e9, 0)
		calls := make(map[string]*call)
		state, yes := make(map[string]matching), make(map[string]bool)
		id := func() string { return fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id")) }
		step := func() time.Time { now = now.Add(time.Second); return now }

		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := &call{id: id(), late: func(result) {}}
				if ok := p.add(c); ok != (state[c.id] != matched) {
					t.Fatalf("add(%s) = %v while %s", c.id, ok, state[c.id])
				} else if ok {
					calls[c.id], state[c.id] = c, matched
				}
			},
			"remove": func(t *rapid.T) {
				id := id()
				if c := calls[id]; c != nil && p.remove(c) != (state[id] == matched) {
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
				var r result
				r.err = rapid.SampledFrom([]error{nil, ErrMalformed, &RemoteError{"no", "no"}}).Draw(t, "err")
				was := state[id]
				kind, c, settled := p.find(id)
				want := was
				switch was {
				case "":
					want = unmatched
				case givenUp:
					want = late
				}
				if kind != want || (c != nil) != (want == matched || want == late) {
					t.Fatalf("find(%s) = %s, %v, want %s", id, kind, c, want)
				}
				if settled != (want == duplicate && yes[id]) {
					t.Fatalf("find(%s) = settled %v while %s", id, settled, was)
				}
				if c == nil {
					return
				}
				expired := step().After(c.until)
				kind, tell := p.settle(c, r, now, now.Add(wanted))
				if kind != want || tell != (want == late && !errors.Is(r.err, ErrMalformed) && !expired) || len(c.done) != map[bool]int{true: 1, false: len(c.done)}[want == matched] {
					t.Fatalf("settle(%s, %v) = %s, %v while %s until %v at %v", id, r.err, kind, tell, was, c.until, now)
				}
				if state[id], yes[id] = duplicate, r.err == nil; errors.Is(r.err, ErrMalformed) {
					state[id] = givenUp
				}
			},
			"": func(t *rapid.T) {
				waiting, wantedLate := 0, false
				for id, c := range calls {
					if state[id] == matched {
						waiting++
					}
					wantedLate = wantedLate || state[id] == givenUp && now.Before(c.until)
				}
				if len(p.waiting) != waiting {
					t.Fatalf("%d wait, want %d", len(p.waiting), waiting)
				}
				if got, want := p.missing(p.mark(), now), waiting > 0 || wantedLate; got != want {
					t.Fatalf("missing = %v, want %v", got, want)
				}
				if p.missing(0, now) {
					t.Fatal("something is missing from before everything")
				}
			},
		})
	})
}

// A request that is removed or forgotten while its reply is decoded is left alone.
func TestSettleAfterRemove(t *testing.T) {
	p := newPending()
	c := &call{id: "a"}
	p.add(c)
	p.remove(c)
	if kind, tell := p.settle(c, result{}, time.Now(), time.Now()); kind != unmatched || tell || len(c.done) != 0 {
		t.Errorf("got %s, %v", kind, tell)
	}
}

// givenUp is what a late reply's request is until it comes.
const givenUp matching = "given up"

func TestOldestFirst(t *testing.T) {
	r := newOldestFirst[int](3)
	for i := range 5 {
		r.put(fmt.Sprint(i), i)
	}
	r.remove("3")
	r.put("2", 22) // the slot of the first 2 is stale now
	r.put("5", 5)  // and must not take the second one with it
	want := map[string]int{"4": 4, "2": 22, "5": 5}
	for i := range 6 {
		id := fmt.Sprint(i)
		got, ok := r.get(id)
		if value, known := want[id]; ok != known || got != value {
			t.Errorf("get(%s) = %d, %v; want %d, %v", id, got, ok, value, known)
		}
	}
	for i := range 1000 {
		r.put(fmt.Sprint(i), i)
	}
	if len(r.items) != 3 || len(r.order) != 3 {
		t.Errorf("%d items in %d slots, want 3", len(r.items), len(r.order))
	}
}
