package events

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
		err := r.post(ctx, &call{})
		assert.ErrorIs(t, err, ErrNotSent, "with a context that has ended")
	})
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Second, time.Second })
		wantErr(t, r.ask("a"), ErrNotSent)
		err := r.post(t.Context(), &call{body: []byte("{}")})
		assert.ErrorIs(t, err, ErrNotSent, "an untrusted server")
		assert.EqualError(t, r.Ready(startReply), "the reply stream "+startReply+" is not connected yet")
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
		seen := make(chan Envelope, 1)
		r := start(t, f, nil, observing(seen))
		began := time.Now()
		reply := r.sent(t, "a")
		assert.ErrorContains(t, wantErr(t, reply, ErrNoReply), "503 Service Unavailable")
		assert.Equal(t, proofWait, time.Since(began))
		f.reply(startReply, "a", 1)
		want(t, seen)
	})
}

// A lifecycle request whose permit has ended by the time that there is a
// connection is not sent, however much of its headers was.
func TestPermit(t *testing.T) {
	tooLate := errors.New("too late")
	for _, tokenLength := range []int{1, 5 << 10, 100 << 10} {
		inBubble(t, func(t *testing.T, f *fake) {
			dialled := make(chan bool, 9)
			dial := f.dial
			f.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				dialled <- true
				return conn, err
			}
			r := start(t, f, func(c *Config) {
				c.Token, _ = StaticToken(secret.New(strings.Repeat("x", tokenLength)))
			})
			want(t, dialled) // the stream
			asked := 0
			for i, denial := range []error{tooLate, nil} {
				request := startRequest(fmt.Sprint(i))
				request.Permit = func() error {
					asked++
					assert.Len(t, dialled, 1, "it was asked before there was a connection")
					return denial
				}
				reply := r.request(t.Context(), request)
				if denial != nil {
					assert.ErrorIs(t, wantErr(t, reply, ErrNotSent), tooLate)
					want(t, f.cut) // the headers without the event
				} else {
					assert.Equal(t, "1", want(t, f.published).CorrelationID)
					f.reply(startReply, "1", 7)
					wantN(t, reply, 7)
				}
				want(t, dialled)
				assert.Equal(t, i+1, asked)
			}
			assert.Empty(t, f.published, "sent without a permit")
			assert.Equal(t, 1, r.counter(`bus_vm_events_publishes_total{result="not_sent"}`))
		}, func(f *fake) { f.cut = make(chan error, 1) })
	}
}

// A new token does not stretch a permit: it is asked for each attempt.
func TestPermitOfASecondAttempt(t *testing.T) {
	f := newFake(t, func(f *fake) { f.cut = make(chan error, 1) })
	f.publish = func(w http.ResponseWriter, _ *http.Request, _ published) { w.WriteHeader(http.StatusUnauthorized) }
	tokens := 0
	r := start(t, f, func(c *Config) {
		c.Token = RereadToken(func() (secret.String, error) { tokens++; return secret.New(fmt.Sprint(tokens)), nil })
	})
	request, asked := startRequest("a"), 0
	request.Permit = func() error {
		if asked++; asked == 2 {
			return errors.New("too late")
		}
		return nil
	}
	wantErr(t, r.request(t.Context(), request), ErrNotSent)
	want(t, f.cut)
	assert.Equal(t, 2, asked)
	assert.Len(t, f.published, 1)
}

// A server that answers headers alone does not make an event of them.
func TestAnAnswerToHeadersAlone(t *testing.T) {
	f := newFake(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	answered := make(chan bool)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
		close(answered)
		_, _ = io.Copy(io.Discard, conn)
	}()
	r := start(t, f, nil)
	r.fresh.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, listener.Addr().String())
	}
	request := startRequest("a")
	request.Permit = func() error {
		<-answered
		return errors.New("too late")
	}
	wantErr(t, r.request(t.Context(), request), ErrNotSent)
}
