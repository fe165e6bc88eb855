package events

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestARequestIsPublishedAndAnswered(t *testing.T) {
	for _, path := range []string{"/root", "/root/", "/root/api/v1/events", "/root/api/v1/events/"} {
		t.Run(path, func(t *testing.T) {
			f := newFake(t)
			authorized := make(chan string, 2)
			f.publish = func(w http.ResponseWriter, r *http.Request, p published) {
				authorized <- r.Header.Get("Authorization")
				accept(w, p)
			}
			r := start(t, f, func(c *Config) { c.URL = f.URL + path })
			reply := r.ask("a")
			got := want(t, f.published)
			if got.Name != StartRequest || got.CorrelationID != "a" || string(got.Payload) != `{"id":"a"}` {
				t.Errorf("published %+v", got)
			}
			listen := want(t, f.requests)
			if q := listen.URL.RawQuery; q != "delivery=broadcast&name=bus.vm.start.response" {
				t.Errorf("listened with %s", q)
			}
			for _, a := range []string{want(t, authorized), listen.Header.Get("Authorization")} {
				if a != "Bearer provider-token" {
					t.Errorf("Authorization: %s", a)
				}
			}
			f.reply(startReply, "a", 7)
			if e := wantN(t, reply, 7); e.Name != startReply || e.CorrelationID != "a" || time.Since(e.RequestedAt) > patience {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	f := newFake(t, func(f *fake) { f.StartTLS() })
	roots := x509.NewCertPool()
	roots.AddCert(f.Certificate())
	r := start(t, f, nil, func(c *Client) { c.transport.TLSClientConfig.RootCAs = roots })
	for i := range 3 {
		reply := r.ask(fmt.Sprint(i))
		want(t, f.published)
		f.reply(startReply, fmt.Sprint(i), i)
		wantN(t, reply, i)
	}
	if n := len(r.publisher.pool.idle); n != 1 {
		t.Errorf("%d idle connections, want 1", n)
	}
}

func TestAnUntrustedServerIsSentNothing(t *testing.T) {
	f := newFake(t, func(f *fake) {
		f.Config.ErrorLog = log.New(io.Discard, "", 0)
		f.StartTLS()
	})
	r := start(t, f, func(c *Config) { c.ConnectWait = time.Millisecond })
	wantErr(t, r.ask("a"), ErrNotConnected)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := r.publisher.post(ctx, tokenOf("t"), []byte("{}")); !errors.Is(err, errUnsent) {
		t.Errorf("publish: %v", err)
	}
	if len(f.requests) != 0 || len(f.published) != 0 {
		t.Error("it was sent something")
	}
}

func TestAReplyMayOvertakeTheAnswerToItsPublish(t *testing.T) {
	f := newFake(t)
	seen := make(chan Envelope, 1)
	f.publish = func(w http.ResponseWriter, _ *http.Request, p published) {
		f.reply(startReply, p.CorrelationID, 1)
		want(t, seen) // delivered before the publish is answered
		accept(w, p)
	}
	r := start(t, f, nil, func(c *Client) { c.Observe(startReply, func(e Envelope) { seen <- e }) })
	wantN(t, r.ask("a"), 1)
}

func TestLinesAreReadTolerantly(t *testing.T) {
	f := newFake(t)
	r := start(t, f, func(c *Config) { c.MaxLine = 1 << 20 })
	name := "name\":\"" + startReply
	big := strings.Repeat("x", 900<<10)
	for i, line := range []string{
		`{"%s","correlation_id":"%s","payload":{"n":%d}}` + "\n",
		"\r\n\n \t\r\n" + `{"%s","correlationId":"%s","payload":{"n":%d}}` + "\r\n",
		"noise\n{}\n[1]\n\x00\xff\n" + `{"%s","correlationId":"%s","payload":{"n":%d}}` + "\n",
		`{"name":"other.event","correlationId":"2"}` + "\n" + `{"%s","correlationId":"%s","payload":{"n":%d}}` + "\n",
		`{"pad":"` + big + `","%s","correlationId":"%s","payload":{"n":%d}}` + "\n",
		`{"pad":"` + big + big + `"}` + "\n" + `{"%s","correlationId":"%s","payload":{"n":%d}}` + "\n",
		`{"%s","correlationId":"%s","x":{"correlationId":"y"},"payload":{"n":%d},"error":null}` + "\n",
	} {
		reply := r.ask(fmt.Sprint(i))
		want(t, f.published)
		f.line(startReply, fmt.Sprintf(line, name, fmt.Sprint(i), i))
		wantN(t, reply, i)
	}
	for reason, n := range map[string]int{"malformed": 4, "other_event": 1, "too_long": 1} {
		if got := r.counter(`bus_vm_events_skipped_lines_total{event="bus.vm.start.response",reason="` + reason + `"}`); got != n {
			t.Errorf("%d lines were %s, want %d", got, reason, n)
		}
	}
}

func TestDuplicatesStrangersAndLateRepliesAreCounted(t *testing.T) {
	f := newFake(t)
	seen := make(chan Envelope, 9)
	r := start(t, f, nil, func(c *Client) { c.Observe(startReply, func(e Envelope) { seen <- e }) })
	reply := r.ask("a")
	want(t, f.published)
	f.reply(startReply, "stranger", 1)
	f.line(startReply, `{"name":"`+startReply+`"}`+"\n")
	f.reply(startReply, "a", 2)
	f.reply(startReply, "a", 3)
	f.reply(startReply, "a", 4)
	asked := wantN(t, reply, 2).RequestedAt

	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan Envelope, 9)
	reply = r.request(ctx, Request{
		Name: StartRequest, Reply: startReply, CorrelationID: "b", Late: func(e Envelope) { received <- e },
	})
	want(t, f.published)
	cancel()
	wantErr(t, reply, ErrNoReply)
	f.reply(startReply, "b", 5)
	f.reply(startReply, "b", 6)
	if e := want(t, received); string(e.Payload) != `{"n":5}` {
		t.Errorf("late: %s", e.Payload)
	}

	// The observer saw all of it, in order, and knows what is this process's.
	for i, mine := range []bool{false, false, true, true, true, true, true} {
		e := want(t, seen)
		if e.RequestedAt.IsZero() == mine || (i > 1 && i < 5 && !e.RequestedAt.Equal(asked)) {
			t.Errorf("event %d (%s) was requested at %v", i, e.Payload, e.RequestedAt)
		}
		if wantPayload := []string{`{"n":1}`, ``, `{"n":2}`, `{"n":3}`, `{"n":4}`, `{"n":5}`, `{"n":6}`}[i]; string(e.Payload) != wantPayload {
			t.Errorf("event %d is %s, want %s", i, e.Payload, wantPayload)
		}
	}
	for match, n := range map[string]int{"matched": 1, "duplicate": 3, "unmatched": 2, "late": 1, "history": 0} {
		if got := r.counter(`bus_vm_events_replies_total{event="bus.vm.start.response",match="` + match + `"}`); got != n {
			t.Errorf("%d replies were %s, want %d", got, match, n)
		}
	}
	if len(received) != 0 {
		t.Error("Late was called twice")
	}
}

func TestLateRepliesExpire(t *testing.T) {
	f := newFake(t)
	seen := make(chan Envelope, 1)
	r := start(t, f, func(c *Config) { c.LateReply = 0 }, func(c *Client) { c.Observe(startReply, func(e Envelope) { seen <- e }) })
	ctx, cancel := context.WithCancel(context.Background())
	reply := r.request(ctx, Request{
		Name: StartRequest, Reply: startReply, CorrelationID: "a", Late: func(Envelope) { t.Error("Late was called") },
	})
	want(t, f.published)
	cancel()
	wantErr(t, reply, ErrNoReply)
	f.reply(startReply, "a", 1)
	want(t, seen)
	r.stop()
	if err := want(t, r.err); err != nil {
		t.Error(err)
	}
}

// Whoever receives late replies may be held up by a slow disk. The stream goes
// on meanwhile, and none of them is lost.
func TestSlowReceiversOfLateRepliesHoldNobodyUp(t *testing.T) {
	const lates = 3000
	f := newFake(t)
	r := start(t, f, nil)
	ctx, cancel := context.WithCancel(context.Background())
	disk, received := make(chan struct{}), make(chan string, lates)
	var given []<-chan outcome
	for i := range lates {
		given = append(given, r.request(ctx, Request{
			Name: StartRequest, Reply: startReply, CorrelationID: strconv.Itoa(i),
			Late: func(e Envelope) { <-disk; received <- e.CorrelationID },
		}))
	}
	for range lates {
		want(t, f.published)
	}
	cancel()
	for i, reply := range given {
		wantErr(t, reply, ErrNoReply)
		f.reply(startReply, strconv.Itoa(i), i)
	}
	reply := r.ask("a")
	want(t, f.published)
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)

	close(disk)
	seen := map[string]bool{}
	for range lates {
		seen[want(t, received)] = true
	}
	if len(seen) != lates {
		t.Errorf("%d of %d late replies were received", len(seen), lates)
	}
}

func TestTheObserverComesBeforeTheCaller(t *testing.T) {
	c, err := New(settings("http://localhost"))
	if err != nil {
		t.Fatal(err)
	}
	s := c.streams[startReply]
	w, _ := s.book.open(Request{CorrelationID: "a"}, time.Now())
	told := -1
	c.Observe(startReply, func(Envelope) { told = len(w.reply) })
	s.deliver(Envelope{Name: startReply, CorrelationID: "a"})
	if told != 0 || len(w.reply) != 1 {
		t.Errorf("the caller had %d replies when the observer saw it, %d afterwards; want 0 and 1", told, len(w.reply))
	}
}

func TestAnEventErrorIsReturnedWithItsEnvelope(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	for i, member := range []string{`"error":{"code":"no_quota","message":"m"}`, `"payload":{"error":{"type":"no_quota","message":"m"}}`} {
		reply := r.ask(fmt.Sprint(i))
		want(t, f.published)
		f.line(startReply, fmt.Sprintf(`{"correlationId":"%d",%s}`+"\n", i, member))
		o := want(t, reply)
		var remote *RemoteError
		if !errors.As(o.err, &remote) || *remote != (RemoteError{"no_quota", "m"}) || o.envelope.CorrelationID != fmt.Sprint(i) {
			t.Errorf("%s: %+v, %v", member, o.envelope, o.err)
		}
	}
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	for _, bad := range []Request{
		{Name: StartRequest, Reply: "unknown", CorrelationID: "a"},
		{Name: StartRequest, Reply: startReply},
		{Name: StartRequest, Reply: startReply, CorrelationID: "a", Payload: func() {}},
	} {
		if _, err := r.Request(context.Background(), bad); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
	reply := r.ask("a")
	want(t, f.published)
	if _, err := r.Request(context.Background(), Request{Name: StartRequest, Reply: startReply, CorrelationID: "a"}); err == nil {
		t.Error("one correlation id was used by two requests at a time")
	}
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)
	if len(f.published) != 0 {
		t.Errorf("%+v was published", <-f.published)
	}
}

func TestRunEndsWhatWaits(t *testing.T) {
	f := newFake(t)
	r := start(t, f, func(c *Config) { c.ConnectWait = time.Hour })
	reply := r.ask("a")
	want(t, f.published)
	if missing := r.Missing(0); len(missing) != 0 {
		t.Errorf("%q is missing", missing)
	}
	r.stop()
	wantErr(t, reply, ErrNoReply)
	if err := want(t, r.err); err != nil {
		t.Errorf("Run = %v", err)
	}
	if missing := r.Missing(0); !slices.Equal(missing, []string{startReply}) {
		t.Errorf("missing %q", missing)
	}
	wantErr(t, r.ask("b"), ErrNotConnected)
	looked := make(chan outcome, 1)
	go func() { looked <- outcome{err: r.Connected(context.Background(), startReply)} }()
	wantErr(t, looked, ErrNotConnected)
}
