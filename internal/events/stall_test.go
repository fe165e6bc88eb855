package events

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
			if waited := time.Since(lost); waited < c.floor || waited > 2*c.floor {
				t.Errorf("waited %v after %v, want %v to twice that", waited, c.lived, c.floor)
			}
		}
	})
}

func TestRequestsWaitOnlyForAShortLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		lost := make(chan struct{}, 1)
		f.listen = func(w http.ResponseWriter, _ *http.Request) bool {
			select {
			case <-lost:
				lost <- struct{}{}
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			default:
				return false
			}
		}
		r := start(t, f, func(c *Config) {
			c.RetryMin, c.RetryMax = time.Second, time.Second
		})
		s := want(t, f.opened)
		lost <- struct{}{}
		s.end()
		want(t, s.ended)
		synctest.Wait()

		begin := time.Now()
		wantErr(t, r.ask("a"), ErrNotConnected)
		if waited := time.Since(begin); waited != 3*time.Second {
			t.Errorf("a request waited %v after the loss, want 3 s", waited)
		}
		begin = time.Now()
		wantErr(t, r.ask("b"), ErrNotConnected)
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a request waited %v in a long outage", waited)
		}
		if len(f.published) != 0 {
			t.Error("something was published")
		}

		<-lost
		want(t, f.opened).end() // a short loss, which refuses no request
		synctest.Wait()
		r.roundTrip(t, "c", 1)
	})
}

func TestTheWatchdogReopensASilentStream(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Hour, time.Hour })
		s := want(t, f.opened)
		begin := time.Now()
		for range 5 { // a sign of life in time
			time.Sleep(idleWatchdog - time.Second)
			s.lines <- "\n"
		}
		synctest.Wait()
		if len(f.opened) != 0 {
			t.Fatalf("opened again after %v in spite of blank lines", time.Since(begin))
		}
		begin = time.Now()
		next := <-f.opened
		if waited := time.Since(begin); waited != idleWatchdog {
			t.Errorf("opened again after %v, want %v", waited, idleWatchdog)
		}
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
		r := start(t, f, func(c *Config) {
			c.Timeout = 10 * time.Second
			c.RetryMin, c.RetryMax = time.Second, 30*time.Second
		})
		s := want(t, f.opened)
		reopened := func(requests int) (n int) {
			for range requests {
				o := <-r.ask(time.Now().String())
				if o.err == nil {
					t.Errorf("answered: %+v", o)
				}
				synctest.Wait()
				for len(f.opened) > 0 {
					s = <-f.opened
					n++
				}
			}
			return n
		}
		if n := reopened(1); n != 1 {
			t.Errorf("the first suspicion opened %d streams, want 1", n)
		}
		if n := reopened(359); n < 10 || n > 20 { // ½, 1 and 2 minutes apart, or up to twice that, then with the watchdog
			t.Errorf("an hour of silence opened %d streams", n)
		}
		s.lines <- "\n"
		synctest.Wait()
		if n := reopened(1); n != 1 {
			t.Errorf("silence after a sign of life opened %d streams, want 1", n)
		}
	})
}

func TestSilenceIsNoDoubtWhileSomethingIsHeard(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, func(c *Config) { c.Timeout = 10 * time.Second })
		s := want(t, f.opened)
		reply := r.sent(t, "a")
		time.Sleep(time.Second)
		f.reply(startReply, "other", 1)
		wantErr(t, reply, ErrNoReply)
		synctest.Wait()
		select {
		case <-s.ended:
			t.Error("a stream that carried another requester's reply was suspected")
		default:
		}
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
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a stalled replay held a reply up for %v", waited)
		}
		wantN(t, missed, 1)
		if waited := time.Since(begin); waited < headerTimeout || waited > headerTimeout+10*time.Millisecond {
			t.Errorf("the replay was tried again after %v, want %v", waited, headerTimeout)
		}
	})
}

// Some server may not know follow=false; the replay ends all the same.
func TestAReplayEndsWhenNothingIsMissing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.listen = func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, "follow=false", "")
			return false
		}
		r := start(t, f, nil)
		first := want(t, f.opened)
		reply := r.sent(t, "a")
		f.loseReply(first, "a", 1)
		wantN(t, reply, 1)
		begin := time.Now()
		replay := want(t, f.opened)
		if replay.query.Get("replay") != "true" {
			replay = want(t, f.opened)
		}
		want(t, replay.ended)
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("the replay ended %v after it had found everything", waited)
		}
	})
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var text strings.Builder
		tries := 0
		f.listen = func(w http.ResponseWriter, _ *http.Request) bool {
			if tries++; tries <= 5 {
				w.WriteHeader(http.StatusBadGateway)
			}
			return tries <= 5
		}
		r := start(t, f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&text, nil)) })
		want(t, f.opened)
		synctest.Wait()
		r.stop()
		want(t, r.err)
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "502 Bad Gateway") ||
			!strings.Contains(lines[1], "level=INFO") || strings.Contains(text.String(), "provider-token") {
			t.Errorf("logged:\n%s", &text)
		}
	})
}
