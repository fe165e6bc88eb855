package events

import (
	"fmt"
	"testing"
)

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
	b := r.ask("b")
	want(t, f.published)
	f.reply(startReply, "b", 1)
	wantN(t, b, 1)
	if len(settled) != 0 {
		t.Error("Late was called again")
	}
	for match, n := range map[string]int{matched: 2, late: 4, duplicate: 2} {
		if got := r.counter(fmt.Sprintf("bus_vm_events_replies_total{event=%q,match=%q}", startReply, match)); got != n {
			t.Errorf("%d replies were %s, want %d", got, match, n)
		}
	}
}

// As long as it is wanted, it is looked for in the history too.
func TestAReplyAfterAMalformedOneIsReplayed(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	settled := make(chan Envelope, 10)
	reply := r.request(t.Context(), onlyN(2, settled))
	want(t, f.published)
	followed := want(t, f.opened)
	f.reply(startReply, "a", 1)
	wantErr(t, reply, ErrMalformed)
	f.mu.Lock()
	f.history[startReply] = append(f.history[startReply],
		fmt.Sprintf(`{"name":%q,"correlationId":"a","payload":{"n":2}}`+"\n", startReply))
	f.mu.Unlock()
	followed.end()
	if got := string(want(t, settled).Payload); got != `{"n":2}` {
		t.Errorf("Late was called with %s", got)
	}
}
