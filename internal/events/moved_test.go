package events

import (
	"context"
	"net"
	"net/http"
	"runtime"
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
			var now atomic.Pointer[fake]
			now.Store(old)
			looked := make(chan struct{}, 10)
			r := start(t, old, func(c *Config) { c.URL = "http://events.test/root" }, func(c *Client) {
				for _, transport := range []*http.Transport{c.transport, c.publisher.shared, c.publisher.fresh} {
					transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, network, now.Load().Listener.Addr().String())
					}
				}
				c.lookup = func(context.Context) ([]string, error) {
					looked <- struct{}{}
					if moved {
						return []string{"127.0.0.2"}, nil
					}
					return []string{"127.0.0.1", "127.0.0.2"}, nil
				}
			})
			stream := want(t, old.opened)
			now.Store(next)
			began := time.Now()
			reply := r.ask("a")
			want(t, next.published)
			want(t, looked)
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

// A name whose answers change all the time is looked up once in RetryMax.
func TestLookupsAreRare(t *testing.T) {
	f := newFake(t)
	var looked atomic.Int32
	r := start(t, f, func(c *Config) { c.RetryMin, c.RetryMax = time.Hour, time.Hour }, func(c *Client) {
		c.lookup = func(context.Context) ([]string, error) {
			looked.Add(1)
			return []string{"127.0.0.1"}, nil
		}
	})
	want(t, f.opened)
	reply := r.ask("a")
	want(t, f.published)
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)
	for range 50 {
		r.connectedTo(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 80})
	}
	r.stop()
	if err := want(t, r.err); err != nil {
		t.Error(err)
	}
	if n := looked.Load(); n != 1 {
		t.Errorf("%d lookups, want 1", n)
	}
}
