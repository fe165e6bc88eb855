package events

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
)

func TestUnmatchedRepliesAreCounted(t *testing.T) {
	f := newFake(t)
	seen := make(chan Envelope, 9)
	r := start(t, f, nil, func(c *Client) { c.Observe(startReply, func(e Envelope) { seen <- e }) })
	reply := r.sent(t, "a")
	f.reply(startReply, "other", 1)
	f.line(startReply, `{"name":"`+startReply+`"}`+"\n")
	f.reply(startReply, "a", 2)
	f.reply(startReply, "a", 3)
	f.reply(startReply, "a", 4)
	wantN(t, reply, 2)

	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan Envelope, 9)
	reply = r.request(ctx, lateTo(startRequest("b"), received))
	want(t, f.published)
	cancel()
	wantErr(t, reply, ErrNoReply)
	f.reply(startReply, "b", 5)
	f.reply(startReply, "b", 6)
	if e := want(t, received); string(e.Payload) != `{"n":5}` {
		t.Errorf("late: %s", e.Payload)
	}

	// The observer saw what was not this process's, in order.
	f.reply(startReply, "other", 9)
	for i, payload := range []string{`{"n":1}`, ``, `{"n":9}`} {
		if e := want(t, seen); string(e.Payload) != payload {
			t.Errorf("event %d is %s, want %s", i, e.Payload, payload)
		}
	}
	for match, n := range map[string]int{"matched": 1, "duplicate": 3, "unmatched": 3, "late": 1, "history": 0} {
		if got := r.counter(`bus_vm_events_replies_total{event="bus.vm.start.response",match="` + match + `"}`); got != n {
			t.Errorf("%d replies were %s, want %d", got, match, n)
		}
	}
	if len(received) != 0 {
		t.Error("Late was called twice")
	}
}

// Receivers of late replies may be held up by a slow disk. The stream goes
// on meanwhile, and none of them is lost.
func TestSlowReceiversOfLateRepliesHoldNobodyUp(t *testing.T) {
	const lates = 3000
	f := newFake(t)
	r := start(t, f, nil)
	ctx, cancel := context.WithCancel(context.Background())
	disk, received := make(chan struct{}), make(chan string, lates)
	var given []<-chan outcome
	for i := range lates {
		request := startRequest(strconv.Itoa(i))
		request.Lifecycle = false // as many connections at a time as a real one
		request.Late = func(e Envelope) { <-disk; received <- e.CorrelationID }
		given = append(given, r.request(ctx, request))
	}
	for range lates {
		want(t, f.published)
	}
	cancel()
	for i, reply := range given {
		wantErr(t, reply, ErrNoReply)
		f.reply(startReply, strconv.Itoa(i), i)
	}
	r.roundTrip(t, "a", 1)

	close(disk)
	seen := map[string]bool{}
	for range lates {
		seen[want(t, received)] = true
	}
	if len(seen) != lates {
		t.Errorf("%d of %d late replies were received", len(seen), lates)
	}
}

// onlyN takes the payload {"n":n} and finds every other reply malformed.
func onlyN(n int, received chan<- Envelope) Request[Envelope] {
	request := lateTo(startRequest("a"), received)
	request.Decode = func(e Envelope) (Envelope, error) {
		if string(e.Payload) != fmt.Sprintf(`{"n":%d}`, n) {
			return e, fmt.Errorf("%w: test", ErrMalformed)
		}
		return e, nil
	}
	return request
}

// What settles a request may follow a malformed reply so closely that the
// caller has not yet looked at that: here both are one write of the server. Late
// is called with it all the same, and with nothing else.
func TestAReplyAfterAMalformedOne(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	settled := make(chan Envelope, 10)
	reply := r.request(t.Context(), onlyN(4, settled))
	want(t, f.published)
	lines := ""
	for n := range 6 { // 4 settles it, and 5 comes too late for that
		lines += fmt.Sprintf(`{"name":%q,"correlationId":"a","payload":{"n":%d}}`+"\n", startReply, n)
	}
	f.line(startReply, lines)
	wantErr(t, reply, ErrMalformed)
	if got := string(want(t, settled).Payload); got != `{"n":4}` {
		t.Errorf("Late was called with %s", got)
	}
	f.reply(startReply, "a", 4)
	r.roundTrip(t, "b", 1)
	if len(settled) != 0 {
		t.Error("Late was called again")
	}
	for match, n := range map[string]int{matched: 2, late: 4, duplicate: 2} {
		if got := r.counter(fmt.Sprintf("bus_vm_events_replies_total{event=%q,match=%q}", startReply, match)); got != n {
			t.Errorf("%d replies were %s, want %d", got, match, n)
		}
	}
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	for _, bad := range []Request[Envelope]{
		{Name: StartRequest, Reply: "unknown", CorrelationID: "a"},
		{Name: StartRequest, Reply: startReply},
		{Name: StartRequest, Reply: startReply, CorrelationID: "a", Payload: func() {}},
	} {
		if _, err := Do(context.Background(), r.Client, bad); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
	reply := r.sent(t, "a")
	if _, err := Do(context.Background(), r.Client, startRequest("a")); err == nil {
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
	r := start(t, f, nil)
	reply := r.sent(t, "a")
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
