package events

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBook compares the book with a plain account of what happened, and holds
// it to one reply a request and to bounded memory.
func TestBook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const wanted = 10 * time.Second
		b := newBook()
		now := time.Unix(1e9, 0)
		entries := make(map[string]*waiter)
		state := make(map[string]matching)
		wantsLate := func(Envelope) {}
		isNonsense := func(e Envelope) bool { return e.Payload == nil }
		id := func() string { return fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id")) }
		step := func() time.Time { now = now.Add(time.Second); return now }

		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				id := id()
				w, ok := b.open(Request{CorrelationID: id, Late: wantsLate, Nonsense: isNonsense}, step())
				if ok != (state[id] != matched) {
					t.Fatalf("open(%s) = %v while %s", id, ok, state[id])
				}
				if ok {
					entries[id], state[id] = w, matched
				}
			},
			"close": func(t *rapid.T) {
				id := id()
				if w := entries[id]; w != nil && b.close(w) != (state[id] == matched) {
					t.Fatalf("close(%s) while %s", id, state[id])
				} else if w != nil && state[id] == matched {
					state[id] = unmatched
					delete(entries, id)
				}
			},
			"give up": func(t *rapid.T) {
				id := id()
				if w := entries[id]; w != nil && b.giveUp(w, step().Add(wanted)) != (state[id] == matched) {
					t.Fatalf("giveUp(%s) while %s", id, state[id])
				} else if w != nil && state[id] == matched {
					state[id] = givenUp
				}
			},
			"take": func(t *rapid.T) {
				id := id()
				e := Envelope{CorrelationID: id}
				if rapid.Bool().Draw(t, "sense") {
					e.Payload = []byte("1")
				}
				kind, w, requestedAt := b.take(e, step(), now.Add(wanted))
				want, after := state[id], duplicate
				switch want {
				case "":
					want, after = unmatched, ""
				case matched:
					if isNonsense(e) {
						after = givenUp
					}
				case givenUp:
					want = late
					if isNonsense(e) && !now.After(entries[id].until) {
						after = givenUp
					}
				}
				if kind != want || (w != nil) != (want == matched || want == late && after == duplicate) {
					t.Fatalf("take(%s) = %s, %v, want %s", id, kind, w, want)
				}
				if want != unmatched && requestedAt != entries[id].requestedAt {
					t.Fatalf("take(%s) is of %v, want %v", id, requestedAt, entries[id].requestedAt)
				}
				if w != nil && want == late && (w.late != nil) != !now.After(w.until) {
					t.Fatalf("take(%s) at %v has late %v until %v", id, now, w.late != nil, w.until)
				}
				if want != unmatched {
					state[id] = after
				}
			},
			"": func(t *rapid.T) {
				waiting, wantedLate := 0, false
				for id, w := range entries {
					if state[id] == matched {
						waiting++
					}
					wantedLate = wantedLate || state[id] == givenUp && now.Before(w.until)
				}
				if len(b.waiting) != waiting {
					t.Fatalf("%d wait, want %d", len(b.waiting), waiting)
				}
				if got, want := b.missing(b.mark(), now), waiting > 0 || wantedLate; got != want {
					t.Fatalf("missing = %v, want %v", got, want)
				}
				if b.missing(0, now) {
					t.Fatal("something is missing from before everything")
				}
			},
		})
	})
}

// givenUp is what a late reply's request is until it comes.
const givenUp matching = "given up"

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent[int](3)
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
