package feed

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// dice are repeated by CHAOS_SEED; each goroutine has its own.
func dice(t *testing.T, goroutines int) (all []*rand.Rand) {
	seed := harness.Number(t, "CHAOS_SEED", rand.IntN(1<<30))
	t.Logf("CHAOS_SEED=%d", seed)
	for i := range goroutines {
		all = append(all, rand.New(rand.NewPCG(uint64(seed), uint64(i))))
	}
	return all
}

// reader is a client that remembers the id of the last whole event.
type reader struct {
	*rand.Rand
	last   string
	events []string // names and data
}

// reads reads until limit bytes have come, or enough says so.
func (r *reader) reads(s *Stream, limit int, enough func() bool) error {
	var unread []byte
	for limit > 0 && !enough() {
		p := make([]byte, min(limit, 1+r.IntN(200)))
		n, err := s.Read(p)
		if err != nil {
			return err
		}
		limit -= n
		unread = append(unread, p[:n]...)
		for {
			whole, rest, ok := bytes.Cut(unread, []byte("\n\n"))
			if !ok {
				break
			}
			unread = rest
			id, event, _ := strings.Cut(string(whole), "\n")
			if id, ok := strings.CutPrefix(id, "id: "); ok {
				r.last = id
				r.events = append(r.events, event)
			}
		}
	}
	return nil
}

// A reader who is cut off at random, at any byte, and comes back to the same feed gets
// each event once and in order.
func TestRandomCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := dice(t, 2)
		r, writer, cuts := &reader{Rand: all[0]}, all[1], 0
		w := newWorld(t)
		w.is("ready", "")
		want := []string{"event: status\ndata: {\"state\":\"ready\",\"provider\":\"p\",\"details\":{}}"}
		began, finished := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(finished)
			<-began
			for i := range 20_000 {
				switch account := string(rune('a' + writer.IntN(3))); writer.IntN(4) {
				case 0:
					state := fmt.Sprint("state", i)
					w.is(state, "")
					want = append(want, fmt.Sprintf("event: status\ndata: {\"state\":%q,\"provider\":\"p\",\"details\":{}}", state))
				default:
					document := w.changes(account, fmt.Sprint(account, writer.IntN(20)))
					if account == "a" {
						want = append(want, "event: operation\ndata: "+document)
					}
				}
				time.Sleep(time.Duration(writer.IntN(100)) * time.Millisecond)
			}
		}()
		over := func() bool {
			select {
			case <-finished:
				return len(r.events) >= len(want)
			default:
				return false
			}
		}
		first := w.open(Reader{Account: "a"}, "")
		require.NoError(t, r.reads(first, 1<<20, func() bool { return r.last != "" }))
		require.NoError(t, first.Close())
		close(began)
		for !over() && cuts < 10_000 {
			s := w.open(Reader{Account: "a"}, r.last)
			require.NoError(t, r.reads(s, 1+r.IntN(1000), over))
			require.NoError(t, s.Close())
			cuts++
			time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		}
		require.GreaterOrEqual(t, cuts, 1000)
		require.Equal(t, want, r.events)
		t.Logf("%d cuts, %d events", cuts, len(r.events))
	})
}

// One who comes to another feed is told of exactly one reset, and then what is true
// there; cut off in the middle of that, it is told all of it again.
func TestCutsBetweenReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feeds := []*world{newWorld(t), newWorld(t)}
		for _, w := range feeds {
			w.is("ready", "")
		}
		r := &reader{Rand: dice(t, 1)[0]}
		whole := func() bool { return r.last != "" && !strings.HasSuffix(r.last, ".0") }
		for cut := range 1000 {
			w := feeds[cut%2]
			for range r.IntN(4) {
				account := string(rune('a' + r.IntN(2)))
				id := fmt.Sprint(account, r.IntN(5))
				for _, each := range feeds { // the database, and the changes of which each tells
					each.changes(account, id)
				}
			}
			if r.IntN(2) == 0 {
				w.is(fmt.Sprint("state", cut), "")
			}
			w.is(w.latest.State, "")
			for middle := r.IntN(3); middle > 0; middle-- {
				s := w.open(Reader{Account: "a"}, cmp.Or(r.last, "x"))
				require.NoError(t, r.reads(s, 20+r.IntN(60), func() bool { return false }))
				require.NoError(t, s.Close())
				if strings.HasPrefix(r.last, w.boot) && whole() {
					r.last = "x" // it was short
				}
			}
			r.events = nil
			s := w.open(Reader{Account: "a"}, cmp.Or(r.last, "x"))
			r.last = ""
			require.NoError(t, r.reads(s, 1<<20, whole))
			require.NoError(t, s.Close())
			want := []string{"event: reset\ndata: {}", fmt.Sprintf("event: status\ndata: {\"state\":%q,\"provider\":\"p\",\"details\":{}}", w.latest.State)}
			recent, _ := w.recent(t.Context(), Reader{Account: "a"})
			for _, op := range recent {
				want = append(want, "event: operation\ndata: "+string(op.Document))
			}
			require.Equal(t, want, r.events)
		}
	})
}
