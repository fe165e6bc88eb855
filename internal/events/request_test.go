package events

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Observers see what no request of this process waits for, and late replies to
// those that it has given up, in the order of the stream.
func TestObservedReplies(t *testing.T) {
	f := newFake(t)
	seen := make(chan Envelope, 9)
	r := start(t, f, nil, observing(seen))
	reply := r.sent(t, "a")
	f.reply(startReply, "other", 1)
	f.line(startReply, `{"name":"`+startReply+`"}`+"\n")
	f.reply(startReply, "a", 2)
	f.reply(startReply, "a", 3)
	wantN(t, reply, 2)

	ctx, cancel := context.WithCancel(context.Background())
	reply = r.request(ctx, startRequest("b"))
	want(t, f.published)
	cancel()
	wantErr(t, reply, ErrNoReply)
	f.reply(startReply, "b", 5)
	f.reply(startReply, "b", 6)

	reply = r.sent(t, "c")
	f.line(startReply, `{"correlationId":"c","error":"no"}`+"\n")
	var no *RemoteError
	assert.ErrorAs(t, want(t, reply).err, &no)
	f.reply(startReply, "c", 7) // a yes after a no

	for i, payload := range []string{`{"n":1}`, ``, `{"n":5}`, `{"n":6}`, `{"n":7}`} {
		e := want(t, seen)
		assert.Equal(t, payload, string(e.Payload), "event %d", i)
		assert.False(t, e.Replayed)
	}
	r.roundTrip(t, "d", 8)
	assert.Empty(t, seen)
	r.wantReplies(t, map[string]int{matched: 3, duplicate: 2, unmatched: 2, late: 2, history: 0})
}

// What settles a request may follow a malformed reply so closely that the
// caller has not yet looked at that: here both are one write of the server. It
// is a late reply all the same.
func TestAReplyAfterAMalformedOne(t *testing.T) {
	f := newFake(t)
	seen := make(chan Envelope, 9)
	r := start(t, f, nil, observing(seen))
	request := startRequest("a")
	request.Decode = func(Envelope) error { return ErrMalformed }
	reply := r.request(t.Context(), request)
	want(t, f.published)
	lines := ""
	for n := range 3 {
		lines += fmt.Sprintf(`{"name":%q,"correlationId":"a","payload":{"n":%d}}`+"\n", startReply, n)
	}
	f.line(startReply, lines)
	wantErr(t, reply, ErrMalformed)
	r.roundTrip(t, "b", 1)
	for n := range 2 {
		assert.Equal(t, fmt.Sprintf(`{"n":%d}`, n+1), string(want(t, seen).Payload))
	}
	assert.Empty(t, seen)
	r.wantReplies(t, map[string]int{matched: 2, late: 2, duplicate: 0})
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	f := newFake(t)
	r := start(t, f, nil)
	for _, bad := range []Request{
		{Name: StopRequest, CorrelationID: "a"},
		{Name: StartRequest},
		{Name: StartRequest, CorrelationID: "a", Payload: func() {}},
	} {
		err := r.Do(t.Context(), bad)
		assert.Error(t, err, "%+v was made", bad)
	}
	reply := r.sent(t, "a")
	err := r.Do(t.Context(), startRequest("a"))
	assert.Error(t, err, "one correlation id was used by two requests at a time")
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)
	assert.Empty(t, f.published)
}

func TestRunEndsWhatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		r := start(t, f, nil)
		reply := r.sent(t, "a")
		assert.NoError(t, r.Ready(startReply))
		r.stop()
		wantErr(t, reply, ErrNoReply)
		assert.NoError(t, want(t, r.err))
		assert.NoError(t, r.Ready(startReply), "2 s have not passed")
		time.Sleep(readyPause)
		assert.EqualError(t, r.Ready(startReply), "the reply stream "+startReply+" is away for 2s")
		wantErr(t, r.ask("b"), ErrNotSent)
		assert.ErrorIs(t, r.Connected(t.Context(), startReply), ErrNotSent)
	})
}
