package events

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
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
	assert.Equal(t, `{"n":5}`, string(want(t, received).Payload), "late")

	// The observer saw what was not this process's, in order.
	f.reply(startReply, "other", 9)
	for i, payload := range []string{`{"n":1}`, ``, `{"n":9}`} {
		assert.Equal(t, payload, string(want(t, seen).Payload), "event %d", i)
	}
	r.wantReplies(t, map[string]int{matched: 1, duplicate: 3, unmatched: 3, late: 1, history: 0})
	assert.Empty(t, received, "Late was called twice")
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
	assert.Len(t, seen, lates, "late replies")
}

// What settles a request may follow a malformed reply so closely that the
// caller has not yet looked at that: here both are one write of the server. Late
// is called with it all the same, and with nothing else.
func TestAReplyAfterAMalformedOne(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	settled := make(chan Envelope, 10)
	request := lateTo(startRequest("a"), settled)
	request.Decode = func(e Envelope) (Envelope, error) {
		if string(e.Payload) != `{"n":4}` {
			return e, ErrMalformed
		}
		return e, nil
	}
	reply := r.request(t.Context(), request)
	want(t, f.published)
	lines := ""
	for n := range 6 { // 4 settles it, and 5 comes too late for that
		lines += fmt.Sprintf(`{"name":%q,"correlationId":"a","payload":{"n":%d}}`+"\n", startReply, n)
	}
	f.line(startReply, lines)
	wantErr(t, reply, ErrMalformed)
	assert.Equal(t, `{"n":4}`, string(want(t, settled).Payload), "late")
	f.reply(startReply, "a", 4)
	r.roundTrip(t, "b", 1)
	assert.Empty(t, settled, "Late was called again")
	r.wantReplies(t, map[string]int{matched: 2, late: 4, duplicate: 2})
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	for _, bad := range []Request[Envelope]{
		{Name: StartRequest, Reply: "unknown", CorrelationID: "a"},
		{Name: StartRequest, Reply: startReply},
		{Name: StartRequest, Reply: startReply, CorrelationID: "a", Payload: func() {}},
	} {
		_, err := Do(t.Context(), r.Client, bad)
		assert.Error(t, err, "%+v was made", bad)
	}
	reply := r.sent(t, "a")
	_, err := Do(t.Context(), r.Client, startRequest("a"))
	assert.Error(t, err, "one correlation id was used by two requests at a time")
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)
	assert.Empty(t, f.published)
}

func TestRunEndsWhatWaits(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	reply := r.sent(t, "a")
	assert.Empty(t, r.Missing(0))
	r.stop()
	wantErr(t, reply, ErrNoReply)
	assert.NoError(t, want(t, r.err))
	assert.Equal(t, []string{startReply}, r.Missing(0))
	wantErr(t, r.ask("b"), ErrNotConnected)
	assert.ErrorIs(t, r.Connected(t.Context(), startReply), ErrNotConnected)
}
