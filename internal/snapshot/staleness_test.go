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
	// disturbed counts what makes the backend slow or fail.
	disturbed int
	seed      uint64
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
	"background read", "follow", "stream is lost", "stream opens", "another is told",
}

// TestNoInterleavingShowsAStateOlderThanAnAcceptedWrite drives reads, writes of
// this process and of others, slow and failing refreshes, streams that are lost,
// statuses of others and the passing of time in every order rapid finds.
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
	const streams = 2
	k := newKeeper(w.fetch, streams)
	for range streams {
		k.Stream(true)
	}
	var violation string
	report := func(format string, args ...any) { w.do(func() { violation = fmt.Sprintf(format, args...) }) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	defer func() { cancel(); <-done }()

	lost, known := 0, 0 // known are the writes that the Keeper was told of
	var readers sync.WaitGroup
	defer readers.Wait()
	good := true // the backend answers in time, and did all along
	for _, m := range history {
		switch m.what {
		case "write":
			w.do(func() { w.accepted++ })
			if lost == 0 || m.amount%2 == 0 { // while a stream is lost, a write of others goes unseen
				k.Accepted("some state", m.amount%2 == 0)
				known = w.accepted
			}
		case "read":
			document, err := readBytes(ctx, k)
			if err == nil && stateOf(document) < w.accepted {
				return fmt.Sprintf("showed %s after write %d was accepted", document, w.accepted)
			}
			if err != nil && good {
				return fmt.Sprintf("a good backend, and the read failed: %v", err)
			}
		case "background read":
			began, needed, disturbed, good := time.Now(), w.accepted, w.disturbed, good
			readers.Go(func() {
				document, err := readBytes(ctx, k)
				if err == nil && stateOf(document) < needed {
					report("showed %s to a reader who began after write %d was accepted", document, needed)
				}
				// At most the rest of one request, and the next.
				took, undisturbed := time.Since(began), false
				w.do(func() { undisturbed = disturbed == w.disturbed })
				if good && undisturbed && ctx.Err() == nil && (err != nil || took > 4*time.Second) {
					report("a reader waited %v for a backend that takes 2 s at most: %v", took, err)
				}
			})
		case "follow":
			began, since, needed, disturbed, good := time.Now(), k.Latest().Since, known, w.disturbed, good
			release := k.Follow()
			readers.Go(func() {
				defer release()
				latest := k.Latest()
				for ; ctx.Err() == nil && (latest.Seen == nil || !latest.Seen.AskedAt.After(since)); latest = k.Latest() {
					<-latest.Changed
				}
				if ctx.Err() == nil && stateOf(latest.Seen.Document) < needed {
					report("showed %s to a follower who began after write %d was accepted", latest.Seen.Document, needed)
				}
				took, undisturbed := time.Since(began), false
				w.do(func() { undisturbed = disturbed == w.disturbed })
				if good && undisturbed && ctx.Err() == nil && took > 4*time.Second+refreshMoving {
					report("a follower waited %v for a backend that takes 2 s at most", took)
				}
			})
		case "time passes":
			time.Sleep(time.Duration(m.amount) % (2 * time.Minute))
		case "a moment passes":
			time.Sleep(time.Duration(m.amount) % time.Second)
		case "get slow":
			good = false
			w.do(func() { w.slowest = time.Duration(m.amount) % time.Minute; w.disturbed++ })
		case "fail":
			good = false
			w.do(func() { w.fails = true; w.disturbed++ })
		case "recover":
			w.do(func() { w.fails, w.slowest = false, time.Second })
			time.Sleep(timeout + time.Minute) // what is under way ends
			good = true
		case "stream is lost":
			if lost < streams {
				lost++
				k.Stream(false)
			}
		case "stream opens":
			if lost > 0 {
				lost--
				k.Stream(true)
			}
		case "another is told":
			k.Hint(strconv.Itoa(int(m.amount % 3)))
		}
	}
	cancel()
	readers.Wait()
	return violation
}

func readBytes(ctx context.Context, k *Keeper) ([]byte, error) {
	seen, err := k.Read(ctx)
	if err != nil {
		return nil, err
	}
	return seen.Document, nil
}

func stateOf(document []byte) int {
	text := strings.TrimPrefix(string(document), `{"status":{"state":"`)
	state, err := strconv.Atoi(text[:strings.IndexByte(text, '"')])
	if err != nil {
		panic(err)
	}
	return state
}
