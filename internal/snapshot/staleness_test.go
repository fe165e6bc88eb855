package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// world is a runtime whose state is the number of writes it accepted, so that
// the age of everything shown can be read off it.
type world struct {
	mu       sync.Mutex
	accepted int
	slowest  time.Duration // bound of each half of a request's way
	fails    bool
	seed     uint64
}

func (w *world) do(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

// delay draws the next half of a way. The caller holds mu.
func (w *world) delay() time.Duration {
	w.seed = w.seed*6364136223846793005 + 1442695040888963407
	return time.Duration(w.seed>>16) % (w.slowest + 1)
}

// fetch observes the state at some moment between question and answer.
func (w *world) fetch(ctx context.Context) (status Status, err error) {
	var there, back time.Duration
	w.do(func() { there, back = w.delay(), w.delay() })
	time.Sleep(there)
	w.do(func() {
		status = Status{State: strconv.Itoa(w.accepted), Provider: "world"}
		if w.fails {
			err = errors.New("no answer")
		}
	})
	select {
	case <-ctx.Done():
		return Status{}, ctx.Err()
	case <-time.After(back):
		return status, err
	}
}

// move is one thing that happens, with a number whose sense depends on it.
type move struct {
	what   string
	amount int64
}

var moves = []string{
	"write", "read", "read", "time passes", "a moment passes", "get slow", "fail", "recover",
	"replica asks", "stranger asks", "answer arrives", "answer arrives again", "reconnect",
}

// TestNoInterleavingShowsAStateOlderThanAnAcceptedWrite drives reads, writes,
// slow and failing refreshes, answers to other replicas and to strangers with
// any delay, reconnects and the passing of time in every order rapid finds.
func TestNoInterleavingShowsAStateOlderThanAnAcceptedWrite(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "delays")
		history := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) move {
			return move{rapid.SampledFrom(moves).Draw(rt, "what"), rapid.Int64Range(0, 1<<40).Draw(rt, "amount")}
		}), 1, 60).Draw(rt, "history")
		var violation string
		synctest.Test(t, func(t *testing.T) { violation = play(t, seed, history) })
		if violation != "" {
			rt.Fatal(violation)
		}
	})
}

// play lets history happen and returns what was wrong with a read, or "".
func play(t *testing.T, seed uint64, history []move) string {
	w := &world{slowest: time.Second, seed: seed}
	k := New(Config{Fetch: w.fetch})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	defer func() { cancel(); <-done }()

	type answer struct {
		id    string
		state int
	}
	var underway []answer // of other askers
	good := true          // the backend answers in time, and did all along
	for _, m := range history {
		switch m.what {
		case "write":
			w.do(func() { w.accepted++ })
			k.Invalidate()
		case "read":
			document, err := k.Read(ctx)
			if err == nil && stateOf(document) < w.accepted {
				return fmt.Sprintf("showed %s after write %d was accepted", document, w.accepted)
			}
			if err != nil && good {
				return fmt.Sprintf("a good backend, and the read failed: %v", err)
			}
		case "time passes":
			time.Sleep(time.Duration(m.amount) % (2 * time.Minute))
		case "a moment passes":
			time.Sleep(time.Duration(m.amount) % time.Second)
		case "get slow":
			good = false
			w.do(func() { w.slowest = time.Duration(m.amount) % time.Minute })
		case "fail":
			good = false
			w.do(func() { w.fails = true })
		case "recover":
			w.do(func() { w.fails, w.slowest = false, time.Second })
			time.Sleep(defaultTimeout + time.Minute) // what is under way ends
			good = true
		case "replica asks":
			underway = append(underway, answer{CorrelationID(), w.accepted})
		case "stranger asks":
			underway = append(underway, answer{fmt.Sprintf("stranger-%d", len(underway)), w.accepted})
		case "answer arrives", "answer arrives again":
			if len(underway) == 0 {
				continue
			}
			i := int(m.amount) % len(underway)
			k.Share(underway[i].id, Status{State: strconv.Itoa(underway[i].state), Provider: "world"})
			if m.what == "answer arrives" {
				underway = append(underway[:i], underway[i+1:]...)
			}
		case "reconnect":
			k.Invalidate()
		}
	}
	return ""
}

func stateOf(document []byte) int {
	text := strings.TrimPrefix(string(document), `{"status":{"state":"`)
	state, err := strconv.Atoi(text[:strings.IndexByte(text, '"')])
	if err != nil {
		panic(err)
	}
	return state
}
