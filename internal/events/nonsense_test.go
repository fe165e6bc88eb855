package events

import (
	"fmt"
	"testing"
)

// What settles a request may follow nonsense so closely that nobody has looked
// at that yet: here both are one write of the server. Late is called with it
// all the same, and with nothing else.
func TestSenseAfterNonsense(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	settled := make(chan Envelope, 10)
	request := Request{
		Name: StartRequest, Reply: startReply, CorrelationID: "a",
		Late:     func(e Envelope) { settled <- e },
		Nonsense: func(e Envelope) bool { return string(e.Payload) != `{"n":4}` },
	}
	reply := r.request(t.Context(), request)
	want(t, f.published)
	lines := ""
	for n := range 6 { // 4 settles it, and 5 comes too late for that
		lines += fmt.Sprintf(`{"name":%q,"correlationId":"a","payload":{"n":%d}}`+"\n", startReply, n)
	}
	f.line(startReply, lines)
	wantN(t, reply, 0)
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
	for match, n := range map[matching]int{matched: 2, late: 4, duplicate: 2} {
		if got := r.counter(fmt.Sprintf("bus_vm_events_replies_total{event=%q,match=%q}", startReply, match)); got != n {
			t.Errorf("%d replies were %s, want %d", got, match, n)
		}
	}
}

// As long as it is wanted, it is looked for in the history too.
func TestSenseAfterNonsenseIsReplayed(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	settled := make(chan Envelope, 10)
	reply := r.request(t.Context(), Request{
		Name: StartRequest, Reply: startReply, CorrelationID: "a",
		Late:     func(e Envelope) { settled <- e },
		Nonsense: func(e Envelope) bool { return string(e.Payload) == `{"n":1}` },
	})
	want(t, f.published)
	followed := want(t, f.opened)
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)
	f.mu.Lock()
	f.history[startReply] = append(f.history[startReply],
		fmt.Sprintf(`{"name":%q,"correlationId":"a","payload":{"n":2}}`+"\n", startReply))
	f.mu.Unlock()
	followed.end()
	if got := string(want(t, settled).Payload); got != `{"n":2}` {
		t.Errorf("Late was called with %s", got)
	}
}
