package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// receive takes one delivery in, carries it out and sees to the reply.
func (w *Worker) receive(env Envelope) {
	req := Request{
		At: time.Now(), EventID: env.ID, Name: env.Name,
		CorrelationID: env.CorrelationID, Payload: env.Payload,
	}
	var who struct {
		AccountID string `json:"account_id"`
		RequestID string `json:"request_id"`
	}
	_ = json.Unmarshal(env.Payload, &who) // a payload of another shape names nobody; handle judges it
	req.Account, req.RequestID = who.AccountID, who.RequestID

	b := w.behaviourFor(req)
	var reply Message
	reply, req.Fate = w.perform(b, req)
	w.log.Info(w.label+" worker", "name", req.Name, "correlation", short(req.CorrelationID),
		"result", req.Fate, "reply", reply)

	// Remembered and scheduled in one step: who waited for the request may
	// release its reply, and who has the reply finds the request.
	w.mu.Lock()
	w.asked.add(req)
	w.counts[req.Name]++
	if !b.Deaf && !b.Silent {
		w.schedule(b, reply)
	}
	w.mu.Unlock()
	w.changed.notify()
}

// perform carries req out as far as b lets it, and returns the reply.
func (w *Worker) perform(b Behaviour, req Request) (reply Message, fate Fate) {
	reply = Message{Name: ReplyName(req.Name), CorrelationID: req.CorrelationID, Payload: json.RawMessage("{}")}
	if b.Deaf {
		return reply, Ignored
	}
	fate = Answered
	if b.Silent {
		fate = Withheld
	}
	failure := b.Refuse
	if failure == nil {
		var payload map[string]any
		payload, failure = w.handle(req)
		if b.Echo && failure == nil {
			w.echo(payload, req)
		}
		reply.Payload = payload
	}
	if failure != nil {
		fate = Refused
		suffix := ""
		if b.Echo {
			suffix = fmt.Sprintf(" (request %s of %s, %s)", req.RequestID, req.Account, req.CorrelationID)
		}
		setError(&reply, failure, suffix)
	}
	if b.Payload != nil {
		reply.Payload = b.Payload
	}
	return reply, fate
}

// LogValue is what the message says, as JSON.
func (m Message) LogValue() slog.Value {
	document := m.Payload
	if m.Error != nil {
		document = m.Error
	}
	text, err := json.Marshal(document)
	if err != nil {
		return slog.StringValue(err.Error())
	}
	return slog.StringValue(string(text))
}

// behaviourFor returns the first behaviour that strikes req.
func (w *Worker) behaviourFor(req Request) Behaviour {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conducts {
		if c.strikes(req, w.dice) {
			return c.Behaviour
		}
	}
	return Behaviour{}
}

// echo adds to payload what tells req from every other request.
func (w *Worker) echo(payload map[string]any, req Request) {
	merged := map[string]any{
		"request_id": req.RequestID, "account_id": req.Account, "correlation_id": req.CorrelationID,
	}
	if there, ok := payload[w.echoAs].(map[string]any); ok {
		for k, v := range there {
			merged[k] = v
		}
	}
	payload[w.echoAs] = merged
}

func setError(reply *Message, e *EventError, suffix string) {
	if e.InPayload {
		reply.Payload = map[string]any{"error": e.document(suffix)}
		return
	}
	reply.Payload = json.RawMessage("{}")
	reply.Error = e.document(suffix)
}

// heldReply is a reply that Hold keeps.
type heldReply struct {
	reply     Message
	duplicate int
}

// schedule sends reply when b says so. w.mu is held.
func (w *Worker) schedule(b Behaviour, reply Message) {
	if b.Hold > 0 {
		w.held = append(w.held, heldReply{reply, b.Duplicate})
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
		if delay <= 0 || rest(ctx, delay) {
			w.publish(ctx, reply, 1+b.Duplicate)
		}
	})
}

// publish sends reply so many times.
func (w *Worker) publish(ctx context.Context, reply Message, times int) {
	w.slots <- struct{}{}
	defer func() { <-w.slots }()
	for range times {
		w.persist(ctx, reply)
	}
}

// persist tries until the API accepts reply, waitLimit ends, or ctx does. A try
// whose answer got lost makes a duplicate, as it would in production.
func (w *Worker) persist(ctx context.Context, reply Message) {
	ctx, cancel := context.WithTimeout(ctx, replyPatience)
	defer cancel()
	wait := reconnectFirst
	for {
		attempt, done := context.WithTimeout(ctx, replyAttempt)
		_, err := w.client.Publish(attempt, reply)
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
