package events

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
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
		"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{",
		"HTTP/1.1 202 Accepted\r\nContent-Length: 9999999999\r\n\r\n" + strings.Repeat("x", 1<<20),
	} {
		t.Run(answer, func(t *testing.T) {
			f := newFake(t)
			f.publish = answerWith(t, answer)
			r := start(t, f, nil)
			reply := r.ask("a")
			want(t, f.published)
			f.reply(startReply, "a", 1)
			wantN(t, reply, 1)
			r.wantCounter(t, `bus_vm_events_publishes_total{result="accepted"}`, 1)
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
	f(429, `{"error":5}`, "the Events API refused bus.vm.start.request with 429 Too Many Requests (integration_error: "+unnamedMessage+")")
	f(404, `<html>`, "the Events API refused bus.vm.start.request with 404 Not Found")
	f(200, `{"accepted":false}`, "the Events API refused bus.vm.start.request with 200 OK")
}

// A publish that broke off may have been processed, so its reply still counts.
func TestAnUnknownPublishWaitsForItsReply(t *testing.T) {
	for _, answer := range []string{"", "HTTP", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 500",
		"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 524 \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 099 None\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 303 See Other\r\nLocation: /done\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 307 X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"} {
		t.Run(answer, func(t *testing.T) {
			f := newFake(t)
			f.publish = answerWith(t, answer)
			r := start(t, f, nil)
			reply := r.ask("a")
			want(t, f.published)
			f.reply(startReply, "a", 1)
			wantN(t, reply, 1)

			unknown := r.counter(`bus_vm_events_publishes_total{result="unknown"}`) // the reply may have come first
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			wantErr(t, r.request(ctx, startRequest("b")), ErrNoReply)
			if n := len(f.published); n != 1 {
				t.Errorf("the second request was published %d times, want 1", n)
			}
			r.wantCounter(t, `bus_vm_events_publishes_total{result="unknown"}`, unknown+1)
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
	wantErr(t, r.request(ctx, startRequest("deadline")), ErrNoReply)
	want(t, f.published)

	ctx, cancel = context.WithCancel(context.Background())
	reply := r.request(ctx, startRequest("cancelled"))
	want(t, f.published)
	cancel()
	wantErr(t, reply, ErrNoReply)

	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	reply = r.request(ctx, startRequest("answered"))
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
		c.publisher.fresh.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, nobody.Addr().String())
		}
	})
	wantErr(t, r.ask("a"), ErrNotSent)
	ctx, cancel := context.WithCancel(context.Background())
	want(t, f.opened)
	cancel()
	if _, err := r.publisher.post(ctx, tokenOf("t"), nil, false); !errors.Is(err, errUnsent) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// A server that closes its idle connections, also at the very moment of use,
// costs no lifecycle request its outcome: over https it may say so first
// (close_notify).
func TestIdleConnectionsAreNeverUsedForLifecycleRequests(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("https %v", secure), func(t *testing.T) {
			closed := make(chan net.Conn, 99)
			f := newFake(t, func(f *fake) {
				f.Config.ConnState = func(c net.Conn, state http.ConnState) {
					if state == http.StateIdle || state == http.StateClosed {
						_ = c.Close()
						closed <- c
					}
				}
				if secure {
					f.StartTLS()
				}
			})
			r := start(t, f, nil, trusting(f))
			for i := range 5 {
				reply := r.ask(fmt.Sprint(i))
				want(t, f.published)
				want(t, closed)
				f.reply(startReply, fmt.Sprint(i), i)
				wantN(t, reply, i)
			}
			r.wantCounter(t, `bus_vm_events_publishes_total{result="accepted"}`, 5)
		})
	}
}

// trusting makes a client trust the certificate of f, if it has one.
func trusting(f *fake) func(*Client) {
	roots := x509.NewCertPool()
	if certificate := f.Certificate(); certificate != nil {
		roots.AddCert(certificate)
	}
	return func(c *Client) {
		for _, transport := range []*http.Transport{c.transport, c.publisher.shared, c.publisher.fresh} {
			transport.TLSClientConfig.RootCAs = roots
		}
	}
}

// Lifecycle requests have a connection each, all others share.
func TestConnectionsOfPublishes(t *testing.T) {
	for _, lifecycle := range []bool{false, true} {
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
			request := startRequest(fmt.Sprint(i))
			request.Lifecycle = lifecycle
			reply := r.request(t.Context(), request)
			want(t, f.published)
			f.reply(startReply, fmt.Sprint(i), i)
			wantN(t, reply, i)
		}
		got := len(opened)
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
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
			return
		}
		accept(w, p)
	}
	r := start(t, f, nil)
	for i, publishes := range []int{1, 2, 1, 2} {
		reply := r.request(t.Context(), plainRequest(fmt.Sprint(i)))
		for range publishes {
			want(t, f.published)
		}
		r.wantCounter(t, `bus_vm_events_publishes_total{result="accepted"}`, i+1)
		f.reply(startReply, fmt.Sprint(i), i)
		wantN(t, reply, i)
	}
}

// The answer to a publish may be long in coming, and have many headers.
func TestAnswersOfAnySize(t *testing.T) {
	headers := "X-Policy: " + strings.Repeat("x", 1000) + "\r\n"
	for n, target := range map[int]error{6: ErrRefused, 60: ErrRefused, 70: ErrNoReply} {
		f := newFake(t)
		f.publish = answerWith(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"+strings.Repeat(headers, n)+"\r\n")
		r := start(t, f, nil)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		wantErr(t, r.request(ctx, startRequest("a")), target)
		cancel()
	}
}

// A request reads the reply while the answer to its publish is still to come.
func TestTheReplyCountsBeforeTheAnswer(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	f.publish = func(w http.ResponseWriter, _ *http.Request, p published) { <-release; accept(w, p) }
	r := start(t, f, nil)
	defer close(release)
	reply := r.ask("a")
	want(t, f.published)
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)
}

// After an answer that leaves the outcome unknown the caller waits 2 s for the
// reply, and no longer.
func TestProofIsWaitedForBriefly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, overPipes func(*Client)) {
		f.publish = func(w http.ResponseWriter, _ *http.Request, _ published) { w.WriteHeader(503) }
		r := start(t, f, nil, overPipes)
		began := time.Now()
		received := make(chan Envelope, 1)
		reply := r.request(t.Context(), lateTo(startRequest("a"), received))
		want(t, f.published)
		if err := wantErr(t, reply, ErrNoReply); !strings.Contains(err.Error(), "503 Service Unavailable") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != proofWait {
			t.Errorf("it took %v", took)
		}
		f.reply(startReply, "a", 1)
		want(t, received)
	})
}

// plainRequest is one whose publish shares its connection with others.
func plainRequest(id string) Request[Envelope] {
	request := startRequest(id)
	request.Lifecycle = false
	return request
}
