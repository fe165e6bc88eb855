package events

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// What finds no connection was not sent: none can be dialled, the server is not
// trusted, or there is no time left.
func TestPublishesThatCannotConnect(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, nil)
		want(t, f.opened)
		r.fresh.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
		wantErr(t, r.ask("a"), ErrNotSent)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := r.post(ctx, secret.New("t"), nil, false)
		assert.ErrorIs(t, err, ErrNotSent, "with a context that has ended")
	})
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Second, time.Second })
		wantErr(t, r.ask("a"), ErrNotConnected)
		_, _, err := r.post(t.Context(), secret.New("t"), []byte("{}"), false)
		assert.ErrorIs(t, err, ErrNotSent, "an untrusted server")
		assert.Equal(t, []string{startReply}, r.Missing(time.Hour), "never up")
		assert.Empty(t, f.requests, "sent to an untrusted server")
		assert.Empty(t, f.published, "sent to an untrusted server")
	}, func(f *fake) {
		f.Config.ErrorLog = log.New(io.Discard, "", 0)
		f.StartTLS()
	})
}

// Lifecycle requests have a connection each, all others share.
func TestConnectionsOfPublishes(t *testing.T) {
	for _, lifecycle := range []bool{false, true} {
		var opened atomic.Int32
		f := newFake(t, func(f *fake) {
			f.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
		})
		r := start(t, f, nil)
		for i := range 50 {
			request := startRequest(fmt.Sprint(i))
			request.Lifecycle = lifecycle
			reply := r.request(t.Context(), request)
			want(t, f.published)
			f.reply(startReply, fmt.Sprint(i), i)
			wantN(t, reply, i)
		}
		got := opened.Load()
		if lifecycle && got != 51 || !lifecycle && got > 5 { // the stream's and theirs
			t.Errorf("lifecycle %v: %d connections were opened", lifecycle, got)
		}
	}
}

// A shared connection that its server closes instead of answering costs a
// question nothing.
func TestASharedConnectionThatEndsInUse(t *testing.T) {
	f := newFake(t)
	var seen sync.Map // by address of the client
	f.publish = func(w http.ResponseWriter, r *http.Request, p published) {
		if _, again := seen.LoadOrStore(r.RemoteAddr, true); again {
			panic(http.ErrAbortHandler)
		}
		accept(w, r, p)
	}
	r := start(t, f, nil)
	for i, publishes := range []int{1, 2, 1, 2} {
		request := startRequest(fmt.Sprint(i))
		request.Lifecycle = false
		reply := r.request(t.Context(), request)
		for range publishes {
			want(t, f.published)
		}
		r.wantCounter(t, `bus_vm_events_publishes_total{result="accepted"}`, i+1)
		f.reply(startReply, fmt.Sprint(i), i)
		wantN(t, reply, i)
	}
}

// After an answer that leaves the outcome unknown the caller waits 2 s for the
// reply, and no longer.
func TestProofIsWaitedForBriefly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.publish = func(w http.ResponseWriter, _ *http.Request, _ published) { w.WriteHeader(503) }
		r := start(t, f, nil)
		began := time.Now()
		received := make(chan Envelope, 1)
		reply := r.request(t.Context(), lateTo(startRequest("a"), received))
		want(t, f.published)
		assert.ErrorContains(t, wantErr(t, reply, ErrNoReply), "503 Service Unavailable")
		assert.Equal(t, proofWait, time.Since(began))
		f.reply(startReply, "a", 1)
		want(t, received)
	})
}
