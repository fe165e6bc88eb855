package events

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheDelayGrowsUntilAStreamWasHealthy(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Second, 8*time.Second })
		s := want(t, f.opened)
		for _, c := range []struct{ lived, floor time.Duration }{
			{healthyAfter - time.Nanosecond, time.Second},
			{healthyAfter - time.Nanosecond, 2 * time.Second},
			{healthyAfter - time.Nanosecond, 4 * time.Second},
			{healthyAfter - time.Nanosecond, 4 * time.Second},
			{healthyAfter, time.Second},
			{0, 2 * time.Second},
		} {
			time.Sleep(c.lived)
			s.end()
			lost := time.Now()
			s = want(t, f.opened)
			assert.InDelta(t, 1.5*c.floor.Seconds(), time.Since(lost).Seconds(), c.floor.Seconds()/2, "after %v", c.lived)
		}
	})
}

func TestRequestsWaitOnlyForAShortLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var away atomic.Bool
		f.listen = func(w http.ResponseWriter, _ *http.Request) bool {
			if away.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return away.Load()
		}
		r := start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Second, time.Second })
		s := want(t, f.opened)
		away.Store(true)
		s.end()
		want(t, s.ended)
		synctest.Wait()

		begin := time.Now()
		wantErr(t, r.ask("a"), ErrNotSent)
		assert.Equal(t, 3*time.Second, time.Since(begin), "after the loss")
		begin = time.Now()
		wantErr(t, r.ask("b"), ErrNotSent)
		assert.Zero(t, time.Since(begin), "in a long outage")
		assert.Empty(t, f.published)

		away.Store(false)
		want(t, f.opened).end() // a short loss, which refuses no request
		synctest.Wait()
		r.roundTrip(t, "c", 1)
	})
}

func TestTheWatchdogReopensASilentStream(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Hour, time.Hour })
		s := want(t, f.opened)
		for range 5 { // a sign of life in time
			time.Sleep(idleWatchdog - time.Second)
			s.lines <- "\n"
		}
		synctest.Wait()
		require.Empty(t, f.opened, "in spite of blank lines")
		begin := time.Now()
		next := <-f.opened
		assert.Equal(t, idleWatchdog, time.Since(begin))
		want(t, s.ended)
		synctest.Wait()
		reply := r.sent(t, "a")
		next.lines <- `{"correlationId":"a","payload":{"n":1}}` + "\n"
		wantN(t, reply, 1)
	})
}

// A worker that never answers must not make a good stream flap.
func TestASilentStreamIsDoubtedLessAndLess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, func(c *Config) { c.Timeout, c.RetryMin, c.RetryMax = 10*time.Second, time.Second, 30*time.Second })
		s := want(t, f.opened)
		reopened := func(requests int) (n int) {
			for range requests {
				wantErr(t, r.ask(time.Now().String()), ErrNoReply)
			}
			for synctest.Wait(); len(f.opened) > 0; n++ {
				s = <-f.opened
			}
			return n
		}
		assert.Equal(t, 1, reopened(1), "the first suspicion")
		// ½, 1 and 2 minutes apart, or up to twice that, then with the watchdog.
		assert.InDelta(t, 15, reopened(359), 5, "an hour of silence")
		s.lines <- "\n"
		synctest.Wait()
		assert.Equal(t, 1, reopened(1), "silence after a sign of life")

		reply := r.sent(t, "a") // no silence: another requester's reply is heard
		time.Sleep(time.Second)
		f.reply(startReply, "other", 1)
		wantErr(t, reply, ErrNoReply)
		assert.Zero(t, reopened(0))
	})
}

func TestAStalledReplayHoldsNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		stalled := 0
		f.listen = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("replay") != "true" || stalled > 0 {
				return false
			}
			stalled++
			_, _ = io.WriteString(w, "\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}
		r := start(t, f, nil)
		first := want(t, f.opened)
		missed := r.sent(t, "missed")
		f.loseReply(first, "missed", 1)
		want(t, f.opened)
		begin := time.Now()
		r.roundTrip(t, "b", 2)
		assert.Zero(t, time.Since(begin), "a stalled replay held a reply up")
		wantN(t, missed, 1)
		assert.InDelta(t, headerTimeout.Seconds(), time.Since(begin).Seconds(), 0.01, "until the replay was tried again")
	})
}
