package events

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// 1,000 requests are in flight all the time, and their replies come in random
// order, some of them twice: every caller gets its own.
func TestTenThousandRepliesOutOfOrder(t *testing.T) {
	const requests, inFlight, cuts = 10_000, 1_000, 5
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut %v", cut), func(t *testing.T) {
			f := newFake(t)
			r := start(t, f, nil)
			var callers sync.WaitGroup
			var next atomic.Int64
			for range inFlight {
				callers.Go(func() {
					for i := next.Add(1) - 1; i < requests; i = next.Add(1) - 1 {
						id := fmt.Sprint(i)
						e, err := Do(context.Background(), r.Client, startRequest(id))
						if got := string(e.Payload); err != nil || got != fmt.Sprintf(`{"n":%d}`, i) {
							t.Errorf("request %d got %s, %v", i, got, err)
						}
					}
				})
			}
			dice := rand.New(rand.NewPCG(1, 2))
			var held []string
			for answered := range requests {
				for len(held) < min(inFlight, requests-answered) {
					held = append(held, want(t, f.published).CorrelationID)
				}
				i := dice.IntN(len(held))
				var n int
				fmt.Sscan(held[i], &n)
				f.reply(startReply, held[i], n)
				if answered%10 == 0 {
					f.reply(startReply, held[i], n)
				}
				held[i] = held[len(held)-1]
				held = held[:len(held)-1]
				if cut && answered%(requests/cuts) == requests/cuts/2 {
					f.mu.Lock()
					for s := range f.streams {
						s.end()
					}
					f.mu.Unlock()
				}
			}
			callers.Wait()
			r.stop()
			if err := want(t, r.err); err != nil {
				t.Error(err)
			}
			s := r.streams[startReply]
			if n := len(s.pending.answered.items); n > maxAnswered {
				t.Errorf("%d answered requests are remembered", n)
			}
			if n := len(s.pending.givenUp.items); n != 0 {
				t.Errorf("%d requests were given up", n)
			}
		})
	}
}
