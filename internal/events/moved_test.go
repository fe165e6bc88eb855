package events

import (
	"context"
	"net"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A name that moves to another address is followed within a publish: the reply
// is found although it came where the stream was not. One of several addresses
// is no move.
func TestTheNameOfTheEventsAPI(t *testing.T) {
	here, there := net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}, net.IPAddr{IP: net.IPv4(127, 0, 0, 2)}
	for name, addresses := range map[string][]net.IPAddr{"moves": {there}, "has two addresses": {there, here}} {
		t.Run(name, func(t *testing.T) {
			at := func(address net.IPAddr) *fake {
				listener, err := net.Listen("tcp", address.String()+":0")
				if err != nil && runtime.GOOS != "linux" {
					t.Skipf("%v is not configured: %v", address, err)
				}
				require.NoError(t, err)
				return newFake(t, func(f *fake) {
					f.Listener.Close()
					f.Listener = listener
				})
			}
			old, next := at(here), at(there)
			defer next.stop()
			var now atomic.Pointer[fake]
			now.Store(old)
			old.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				if trace := httptrace.ContextClientTrace(ctx); trace.DNSDone != nil {
					trace.DNSDone(httptrace.DNSDoneInfo{Addrs: addresses})
				}
				return new(net.Dialer).DialContext(ctx, network, now.Load().Listener.Addr().String())
			}
			r := start(t, old, func(c *Config) { c.URL = "http://events.test/root" })
			stream := want(t, old.opened)
			now.Store(next)
			began := time.Now()
			reply := r.ask("a")
			want(t, next.published)
			if len(addresses) == 1 {
				next.reply(startReply, "a", 1)
				want(t, stream.ended)
			} else {
				old.reply(startReply, "a", 1)
			}
			wantN(t, reply, 1)
			if took := time.Since(began); took > waitLimit/2 || len(addresses) == 2 && len(next.opened) != 0 {
				t.Errorf("it took %v, and %d streams were opened at the other address", took, len(next.opened))
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
		require.NoError(t, r.Connected(t.Context(), startReply))
		s.mu.Lock()
		s.conn.remote = net.IPv4(127, 0, 0, 2)
		s.mu.Unlock()
		reply := r.sent(t, id)
		r.wantCounter(t, `bus_vm_events_stream_reconnects_total{event="bus.vm.start.response"}`, 1)
		f.reply(startReply, id, i)
		wantN(t, reply, i)
	}
}
