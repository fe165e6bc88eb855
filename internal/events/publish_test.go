package events

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answerWith answers publishes on the bare connection.
func answerWith(t *testing.T, text string) func(http.ResponseWriter, *http.Request, published) {
	return func(w http.ResponseWriter, _ *http.Request, _ published) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, text)
		conn.Close()
	}
}

func TestEvery2xxAccepts(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 202 Accepted\r\nContent-Length: 17\r\n\r\n{\"accepted\":true}",
		"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nblah\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nuntil the end",
	} {
		t.Run(answer, func(t *testing.T) {
			f := newFake(t)
			f.publish = answerWith(t, answer)
			r := start(t, f, nil)
			reply := r.ask("a")
			want(t, f.published)
			f.reply(startReply, "a", 1)
			wantN(t, reply, 1)
			if n := r.counter(`bus_vm_events_publishes_total{result="accepted"}`); n != 1 {
				t.Errorf("%d accepted, want 1", n)
			}
		})
	}
}

func TestARefusedPublish(t *testing.T) {
	f := func(status int, body, text string) {
		t.Run(fmt.Sprint(status, body), func(t *testing.T) {
			f := newFake(t)
			f.publish = func(w http.ResponseWriter, _ *http.Request, _ published) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}
			r := start(t, f, func(c *Config) { c.Token = tokenFrom("t") })
			err := wantErr(t, r.ask("a"), ErrRefused)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Status != status || err.Error() != text {
				t.Errorf("got %v (%+v), want %s", err, refused, text)
			}
			if len(f.published) != 1 {
				t.Errorf("published %d times", len(f.published))
			}
		})
	}
	f(400, `{"error":{"type":"bad_request","message":"No."}}`, "the Events API refused bus.vm.start.request with 400 Bad Request (bad_request: No.)")
	f(401, ``, "the Events API refused bus.vm.start.request with 401 Unauthorized")
	f(403, `{"error":"Bearer abc"}`, "the Events API refused bus.vm.start.request with 403 Forbidden (integration_error: [redacted])")
	f(500, `<html>`, "the Events API refused bus.vm.start.request with 500 Internal Server Error")
	f(503, `{"error":5}`, "the Events API refused bus.vm.start.request with 503 Service Unavailable (integration_error: "+unnamedMessage+")")
	f(302, ``, "the Events API refused bus.vm.start.request with 302 Found")
	f(200, `{"accepted":false}`, "the Events API refused bus.vm.start.request with 200 OK")
}

// A publish that broke off may have been processed, so its reply still counts.
func TestAnUnknownPublishWaitsForItsReply(t *testing.T) {
	for _, answer := range []string{"", "HTTP", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 500", "HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{",
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"} {
		t.Run(answer, func(t *testing.T) {
			f := newFake(t)
			f.publish = answerWith(t, answer)
			r := start(t, f, nil)
			reply := r.ask("a")
			want(t, f.published)
			f.reply(startReply, "a", 1)
			wantN(t, reply, 1)

			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			wantErr(t, r.request(ctx, Request{Name: StartRequest, Reply: startReply, CorrelationID: "b"}), ErrNoReply)
			if n := len(f.published); n != 1 {
				t.Errorf("the second request was published %d times, want 1", n)
			}
			if n := r.counter(`bus_vm_events_publishes_total{result="unknown"}`); n != 2 {
				t.Errorf("%d unknown, want 2", n)
			}
		})
	}
}

func TestAStalledPublishEndsWithItsRequest(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	f.publish = func(http.ResponseWriter, *http.Request, published) { <-release }
	r := start(t, f, func(c *Config) { c.Timeout = 10 * patience })
	defer close(release)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	wantErr(t, r.request(ctx, Request{Name: StartRequest, Reply: startReply, CorrelationID: "deadline"}), ErrNoReply)
	want(t, f.published)

	ctx, cancel = context.WithCancel(context.Background())
	reply := r.request(ctx, Request{Name: StartRequest, Reply: startReply, CorrelationID: "cancelled"})
	want(t, f.published)
	cancel()
	wantErr(t, reply, ErrNoReply)

	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	reply = r.request(ctx, Request{Name: StartRequest, Reply: startReply, CorrelationID: "answered"})
	want(t, f.published)
	f.reply(startReply, "answered", 1)
	wantN(t, reply, 1)

	reply = r.ask("when Run ends")
	want(t, f.published)
	r.stop()
	wantErr(t, reply, ErrNoReply)
}

func TestAPublishThatCannotConnectIsNotSent(t *testing.T) {
	f := newFake(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	r := start(t, f, nil, func(c *Client) {
		c.publisher.pool.dial = func(ctx context.Context) (net.Conn, error) {
			return newDialer().DialContext(ctx, "tcp", nobody.Addr().String())
		}
	})
	wantErr(t, r.ask("a"), ErrNotSent)
	ctx, cancel := context.WithCancel(context.Background())
	want(t, f.opened)
	cancel()
	if _, err := r.publisher.post(ctx, tokenOf("t"), nil); !errors.Is(err, errUnsent) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// A server that went away while its connections were idle must not cost a
// publish its outcome.
func TestAnIdleConnectionThatWasClosedIsNotUsed(t *testing.T) {
	closed := make(chan net.Conn, 9)
	f := newFake(t, func(f *fake) {
		f.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				c.Close()
				closed <- c
			}
		}
	})
	r := start(t, f, nil)
	for i := range 5 {
		reply := r.ask(fmt.Sprint(i))
		want(t, f.published)
		want(t, closed)
		f.reply(startReply, fmt.Sprint(i), i)
		wantN(t, reply, i)
	}
	if n := r.counter(`bus_vm_events_publishes_total{result="accepted"}`); n != 5 {
		t.Errorf("%d accepted, want 5", n)
	}
}

func TestConnectionsAreReusedAndBounded(t *testing.T) {
	opened := make(chan net.Conn, 1000)
	f := newFake(t, func(f *fake) {
		f.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened <- c
			}
		}
	})
	r := start(t, f, nil)
	for i := range 50 {
		reply := r.ask(fmt.Sprint(i))
		want(t, f.published)
		f.reply(startReply, fmt.Sprint(i), i)
		wantN(t, reply, i)
	}
	if n := len(opened); n != 2 { // the stream and one publisher
		t.Errorf("%d connections were opened, want 2", n)
	}

	pool := r.publisher.pool
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var conns []*pooledConn
	for range maxPublishConns {
		conn, err := pool.get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	soon, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := pool.get(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one connection too many: %v", err)
	}
	for i, conn := range conns {
		pool.put(conn, i%2 == 0)
	}
	if n := len(pool.idle); n != maxPublishConns/2 {
		t.Errorf("%d connections are idle, want %d", n, maxPublishConns/2)
	}
	for _, conn := range pool.idle {
		conn.used = conn.used.Add(-maxConnIdle)
	}
	pool.closeStale()
	if n := len(pool.idle); n != 0 {
		t.Errorf("%d stale connections are left", n)
	}
}

// brokenConn takes a part of what is written.
type brokenConn struct {
	net.Conn
	takes int
}

func (c brokenConn) Write(p []byte) (int, error) { return c.takes, io.ErrClosedPipe }

func TestOnlyZeroWrittenBytesAreUnsent(t *testing.T) {
	for takes, unsent := range map[int]bool{0: true, 1: false, 70: false} {
		_, reusable, err := (&publisher{}).exchange(&pooledConn{Conn: brokenConn{takes: takes}}, tokenOf("t"), []byte("{}"))
		if !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, errUnsent) != unsent || reusable {
			t.Errorf("%d bytes written: %v, reusable %v", takes, err, reusable)
		}
	}
}

func TestAHugeAnswerIsNotRead(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		in := bufio.NewReader(server)
		request, _ := http.ReadRequest(in)
		_, _ = io.Copy(io.Discard, request.Body)
		_, _ = io.WriteString(server, "HTTP/1.1 202 Accepted\r\nContent-Length: 9999999999\r\n\r\n"+strings.Repeat("x", 1<<20))
	}()
	p := publisher{head: "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "}
	_, reusable, err := p.exchange(&pooledConn{Conn: client, in: bufio.NewReader(client)}, tokenOf("t"), []byte("{}"))
	if err == nil || errors.Is(err, errUnsent) || reusable {
		t.Errorf("got %v, reusable %v", err, reusable)
	}
	client.Close()
}
