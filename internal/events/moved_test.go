package events

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A name that moves to another address is followed within a publish: the reply
// is found although it came where the stream was not. One of several addresses
// is no move.
func TestTheNameOfTheEventsAPI(t *testing.T) {
	for name, moved := range map[string]bool{"moves": true, "has two addresses": false} {
		t.Run(name, func(t *testing.T) {
			at := func(host string) *fake {
				return newFake(t, func(f *fake) {
					listener, err := net.Listen("tcp", host+":0")
					if err != nil && runtime.GOOS != "linux" {
						t.Skipf("127.0.0.2 is not configured: %v", err)
					}
					if err != nil {
						t.Fatal(err)
					}
					f.Listener.Close()
					f.Listener = listener
				})
			}
			old, next := at("127.0.0.1"), at("127.0.0.2")
			defer next.stop()
			answer := []net.IPAddr{{IP: net.IPv4(127, 0, 0, 2)}}
			if !moved {
				answer = append(answer, net.IPAddr{IP: net.IPv4(127, 0, 0, 1)})
			}
			var now atomic.Pointer[fake]
			now.Store(old)
			r := start(t, old, func(c *Config) { c.URL = "http://events.test/root" }, func(c *Client) {
				for _, transport := range []*http.Transport{c.transport, c.shared, c.fresh} {
					transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
						if trace := httptrace.ContextClientTrace(ctx); trace.DNSDone != nil {
							trace.DNSDone(httptrace.DNSDoneInfo{Addrs: answer})
						}
						return new(net.Dialer).DialContext(ctx, network, now.Load().Listener.Addr().String())
					}
				}
			})
			stream := want(t, old.opened)
			now.Store(next)
			began := time.Now()
			reply := r.ask("a")
			want(t, next.published)
			if moved {
				next.reply(startReply, "a", 1)
				want(t, stream.ended)
				wantN(t, reply, 1)
				if took := time.Since(began); took > waitLimit/2 {
					t.Errorf("it took %v", took)
				}
			} else {
				old.reply(startReply, "a", 1)
				wantN(t, reply, 1)
				if len(next.opened) != 0 {
					t.Error("the stream was opened again")
				}
			}
		})
	}
}

// The name is resolved as each connection is made. One whose answers change all
// the time costs a stream once in RetryMax.
func TestAMoveIsSeenWhileDialling(t *testing.T) {
	f := newFake(t)
	r := start(t, f, func(c *Config) {
		c.URL = strings.Replace(c.URL, "127.0.0.1", "localhost", 1)
		c.RetryMin, c.RetryMax = time.Hour, time.Hour
	})
	s := r.streams[startReply]
	for i, id := range []string{"a", "b", "c"} {
		if err := r.Connected(t.Context(), startReply); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.conn.remote = net.IPv4(127, 0, 0, 2)
		s.mu.Unlock()
		reply := r.ask(id)
		want(t, f.published)
		r.wantCounter(t, `bus_vm_events_stream_reconnects_total{event="bus.vm.start.response"}`, 1)
		f.reply(startReply, id, i)
		wantN(t, reply, i)
	}
}
