package events

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// queryOf is what a request to the fake asked for beside name and delivery.
func queryOf(r *http.Request) string {
	q := r.URL.Query()
	q.Del("name")
	q.Del("delivery")
	return q.Encode()
}

func TestAReplyFromTheGapIsFoundByReplay(t *testing.T) {
	for name, last := range map[string]string{
		"clean":     "",
		"truncated": `{"name":"` + startReply + `","correlationId":"a","payl`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			seen, gaps := make(chan Envelope, 99), make(chan string, 99)
			r := start(t, f, nil, func(c *Client) {
				c.Observe(startReply, func(e Envelope) { seen <- e })
				c.OnStream(startReply, func(up bool) {
					if up {
						gaps <- startReply
					}
				})
			})
			first := want(t, f.opened)
			for i := range 3 { // history, to be replayed later
				id := fmt.Sprint("old", i)
				r.roundTrip(t, id, i)
				f.reply(startReply, "other", i)
				want(t, seen)
			}

			reply := r.sent(t, "a")
			first.lines <- last
			f.loseReply(first, "a", 7)
			wantN(t, reply, 7)

			for i := range 3 { // not this process's own, which have been answered
				e := want(t, seen)
				assert.Equal(t, fmt.Sprintf(`{"n":%d}`, i), string(e.Payload))
				assert.True(t, e.Replayed)
			}
			assert.Empty(t, seen)
			for i, query := range []string{"", "", "follow=false&replay=true"} {
				assert.Equal(t, query, queryOf(want(t, f.requests)), "listener %d", i)
			}
			for range 2 {
				assert.Equal(t, startReply, want(t, gaps))
			}
			assert.Equal(t, 1, r.counter(`bus_vm_events_stream_reconnects_total{event="bus.vm.start.response"}`))
		})
	}
}

// All of the history is read where WantHistory says so, beside the stream, which
// goes on meanwhile; until that has succeeded, whatever WantHistory says then.
func TestWantHistory(t *testing.T) {
	f := newFake(t)
	var replays atomic.Int32
	f.listen = func(w http.ResponseWriter, r *http.Request) bool {
		fails := r.URL.Query().Get("replay") == "true" && replays.Add(1) == 1
		if fails {
			w.WriteHeader(http.StatusBadGateway)
		}
		return fails
	}
	for n := range 3 {
		f.reply(startReply, fmt.Sprint(n), n)
	}
	seen, asked := make(chan Envelope, 9), 0
	r := start(t, f, nil, observing(seen), func(c *Client) {
		c.WantHistory(startReply, func() bool { asked++; return asked != 2 })
	})
	replayed := func() {
		t.Helper()
		for n := range 3 {
			e := want(t, seen)
			assert.Equal(t, fmt.Sprint(n), e.CorrelationID)
			assert.True(t, e.Replayed)
		}
	}
	both := func() (stream *fakeStream) { // with its replay, which has ended
		t.Helper()
		for range 2 { // they come in any order
			if s := want(t, f.opened); s.query.Get("replay") == "true" {
				want(t, s.ended)
			} else {
				stream = s
			}
		}
		return stream
	}
	stream := both()
	replayed()
	assert.EqualValues(t, 2, replays.Load())
	r.roundTrip(t, "a", 7)

	stream.end()
	stream = want(t, f.opened) // without a replay
	r.roundTrip(t, "b", 8)
	stream.end()
	both()
	replayed()
	r.roundTrip(t, "c", 9)
	assert.Empty(t, seen, "what this process was answered itself")
	assert.EqualValues(t, 3, replays.Load())
	assert.Equal(t, 3, asked)
	r.wantReplies(t, map[string]int{matched: 3, history: 6, duplicate: 2, late: 0})
}

// ReadHistory returns when the observers have seen all of it, or says why not.
func TestReadHistory(t *testing.T) {
	f := newFake(t)
	var fails atomic.Bool
	f.listen = func(w http.ResponseWriter, r *http.Request) bool {
		if fails.Load() && r.URL.Query().Get("replay") == "true" {
			w.Header().Set("Content-Length", "999")
			_, _ = io.WriteString(w, `{"correlationId":"cut","payload":{}}`+"\n")
			return true
		}
		return false
	}
	for n := range 2 {
		f.reply(startReply, fmt.Sprint("old", n), n)
	}
	seen := make(chan Envelope, 99)
	r := start(t, f, nil, observing(seen))
	want(t, f.opened)
	for range 2 {
		require.NoError(t, r.ReadHistory(t.Context(), startReply))
		require.Len(t, seen, 2)
		for n := range 2 {
			e := <-seen
			assert.Equal(t, fmt.Sprint("old", n), e.CorrelationID)
			assert.True(t, e.Replayed)
		}
	}
	// A request that waits is answered by it like by the stream.
	reply := r.sent(t, "a")
	f.mu.Lock()
	f.history[startReply] = append(f.history[startReply], `{"correlationId":"a","payload":{"n":5}}`+"\n")
	f.mu.Unlock()
	require.NoError(t, r.ReadHistory(t.Context(), startReply))
	wantN(t, reply, 5)

	fails.Store(true)
	assert.ErrorIs(t, r.ReadHistory(t.Context(), startReply), io.ErrUnexpectedEOF)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, r.ReadHistory(ctx, startReply), context.Canceled)
}

// A question whose reply may have been lost with the stream is asked again, instead of
// looking for that.
func TestALostQuestionIsAskedAgain(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	first := want(t, f.opened)
	request := startRequest("a")
	request.Lifecycle = false
	reply := r.request(t.Context(), request)
	want(t, f.published)
	f.loseReply(first, "a", 1)
	want(t, f.published)
	f.reply(startReply, "a", 2)
	wantN(t, reply, 2)
	for len(f.requests) > 0 {
		assert.Empty(t, queryOf(<-f.requests))
	}
}

func TestContentTypesOfAStream(t *testing.T) {
	for kind, want := range map[string]bool{
		"": true, "application/x-ndjson": true, "application/json; charset=utf-8": true, "application/jsonl": true,
		"text/plain; charset=utf-8": true, "text/html": false, "text/event-stream": false, ";": false,
	} {
		assert.Equal(t, want, isLines(kind), kind)
	}
}

func TestAStreamThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter){
		"500":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"302":  func(w http.ResponseWriter) { w.Header().Set("Location", "/"); w.WriteHeader(http.StatusFound) },
		"html": func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html") },
		"cut":  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"garbage": func(w http.ResponseWriter) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH\r\n")
			conn.Close()
		},
		"endless header": func(w http.ResponseWriter) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxHeader))
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			var tries atomic.Int32
			f.listen = func(w http.ResponseWriter, _ *http.Request) bool {
				broken := tries.Add(1) <= 3
				if broken {
					fault(w)
				}
				return broken
			}
			r := start(t, f, nil)
			reply := r.sent(t, "a")
			assert.EqualValues(t, 4, tries.Load(), "tries to listen")
			f.reply(startReply, "a", 1)
			wantN(t, reply, 1)
		})
	}
}

// One failure of the Events API is told once for each cause, however many streams it ends,
// and its end once; so is what keeps one of them away for longer.
func TestOutageIsToldOnce(t *testing.T) {
	f := newFake(t)
	var status, refused atomic.Int32
	replies := []string{startReply, ReplyName(StopRequest), ReplyName(StatusRequest), ReplyName(UsageRequest)}
	tries := map[string]*atomic.Int32{} // that were answered with status
	for _, reply := range replies {
		tries[reply] = &atomic.Int32{}
	}
	f.listen = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("name") == ReplyName(UsageRequest) && refused.Load() > 0 {
			w.WriteHeader(int(refused.Load()))
			return true
		}
		if status.Load() > 0 {
			tries[r.URL.Query().Get("name")].Add(1)
			w.WriteHeader(int(status.Load()))
			return true
		}
		return false
	}
	var log harness.Output
	start(t, f, func(c *Config) { c.Replies, c.Logger = replies, slog.New(slog.NewTextHandler(&log, nil)) })
	wait := func(text string, n int) {
		t.Helper()
		harness.Eventually(t, text, func() bool { return strings.Count(log.String(), text) >= n }, &log)
	}
	for outage := range 2 {
		var open []*fakeStream
		for range replies {
			open = append(open, want(t, f.opened))
		}
		status.Store(http.StatusBadGateway)
		for _, s := range open {
			s.end()
		}
		wait("502 Bad Gateway", outage+1)
		for _, n := range tries {
			before := n.Load() // the second from now on says that the client knows of the first
			harness.Eventually(t, "tries", func() bool { return n.Load() >= before+2 }, &log)
		}
		if outage == 1 {
			refused.Store(http.StatusNotFound)
			status.Store(0)
			wait("404 Not Found", 1)
			for range len(replies) - 1 {
				want(t, f.opened).end() // an outage of the others, while that one is away
			}
			wait("Events API ended the stream", 3)
			refused.Store(0)
		}
		status.Store(0)
		wait("all events streams are up again", outage+1)
		if outage == 0 {
			assert.Equal(t, 2, strings.Count(log.String(), "events stream is down"), &log) // ended, and 502
		}
	}
	assert.GreaterOrEqual(t, 9, strings.Count(log.String(), "events stream is down"), &log)
	assert.Equal(t, 2, strings.Count(log.String(), "up again"), &log)
	for line := range strings.Lines(log.String()) {
		assert.Equal(t, strings.Contains(line, "stream is down"), strings.Contains(line, "level=WARN"), line)
	}
	assert.NotContains(t, log.String(), "provider-token")
}
