package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// receive takes one delivery in, carries it out and sees to the reply.
func (w *Worker) receive(ev wire) {
	var who struct {
		AccountID string `json:"account_id"`
		RequestID string `json:"request_id"`
	}
	_ = json.Unmarshal(ev.Payload, &who) // a payload of another shape has none of these; handle judges it
	req := Request{
		EventID: ev.ID, Name: ev.Name, CorrelationID: ev.CorrelationID,
		Account: who.AccountID, RequestID: who.RequestID, Payload: ev.Payload,
	}
	b := w.behaviourFor(req)
	var reply Message
	if !b.Deaf {
		reply = w.perform(b, req)
	}
	answers := !b.Deaf && !b.Silent
	w.log.Info(w.label+" worker", "name", req.Name, "correlation", short(req.CorrelationID),
		"answers", answers, "reply", reply.Payload, "error", reply.Error)

	// Remembered and scheduled in one step: who waited for the request may
	// release its reply, and who has the reply finds the request.
	w.mu.Lock()
	w.asked = append(w.asked, req)
	if answers {
		w.schedule(b, reply)
	}
	w.mu.Unlock()
	w.changed.notify()
}

// perform carries req out as far as b lets it, and returns the reply.
func (w *Worker) perform(b Behaviour, req Request) Message {
	reply := Message{Name: ReplyName(req.Name), CorrelationID: req.CorrelationID}
	payload, failure := map[string]any{}, b.Refuse
	if failure == nil {
		payload, failure = w.handle(req)
	}
	suffix := ""
	if b.Echo {
		suffix = fmt.Sprintf(" (request %s of %s, %s)", req.RequestID, req.Account, req.CorrelationID)
	}
	switch {
	case failure == nil && b.Echo:
		echo := map[string]any{"request_id": req.RequestID, "account_id": req.Account, "correlation_id": req.CorrelationID}
		if there, ok := payload[w.echoAs].(map[string]any); ok {
			maps.Copy(echo, there)
		}
		payload[w.echoAs] = echo
	case failure != nil && failure.InPayload:
		payload = map[string]any{"error": failure.document(suffix)}
	case failure != nil:
		payload, reply.Error = map[string]any{}, failure.document(suffix)
	}
	reply.Payload = payload
	if b.Payload != nil {
		reply.Payload = b.Payload
	}
	return reply
}

// behaviourFor returns the first behaviour that strikes req.
func (w *Worker) behaviourFor(req Request) Behaviour {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.conducts {
		if w.conducts[i].strikes(req, w.dice) {
			return w.conducts[i]
		}
	}
	return Behaviour{}
}

// schedule sends reply when b says so. w.mu is held.
func (w *Worker) schedule(b Behaviour, reply Message) {
	send := func(ctx context.Context) {
		for range 1 + b.Duplicate {
			w.persist(ctx, reply)
		}
	}
	if b.Hold > 0 {
		w.held = append(w.held, send)
		if len(w.held) >= b.Hold {
			w.release()
		}
		return
	}
	delay := b.Delay
	if b.Jitter > 0 {
		delay += time.Duration(w.dice.Int64N(int64(b.Jitter)))
	}
	w.begin(func(ctx context.Context) {
		if rest(ctx, delay) {
			send(ctx)
		}
	})
}

// persist tries until the API accepts reply, replyPatience ends, or ctx does. A try
// whose answer got lost makes a duplicate, as it would in production.
func (w *Worker) persist(ctx context.Context, reply Message) {
	ctx, cancel := context.WithTimeout(ctx, replyPatience)
	defer cancel()
	wait := reconnectFirst
	for {
		attempt, done := context.WithTimeout(ctx, replyAttempt)
		err := w.client.Publish(attempt, reply)
		done()
		if err == nil {
			return
		}
		if !rest(ctx, wait) {
			w.log.Debug(w.label+" worker: reply not sent", "name", reply.Name,
				"correlation", short(reply.CorrelationID), "error", err)
			return
		}
		wait = min(2*wait, reconnectMost)
	}
}
