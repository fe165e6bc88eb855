package platform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Published is one publish call that the API answered or meant to answer.
type Published struct {
	At            time.Time
	EventID       string // empty when refused
	Name          string // empty when the body could not be read
	CorrelationID string
	Account       string // `sub` of the token; empty without a valid one
	Payload       json.RawMessage
	// Status is 202, or that of the refusal. Refusals that a fault makes do
	// not show here: the API never saw the request.
	Status int
}

// publish answers POST {collection}.
func (r *run) publish(w http.ResponseWriter, req *http.Request) {
	body, bad := readBody(w, req)
	var message struct {
		Name          string          `json:"name"`
		CorrelationID string          `json:"correlationId"`
		Snake         string          `json:"correlation_id"`
		Payload       json.RawMessage `json:"payload"`
		Error         json.RawMessage `json:"error"`
	}
	if bad == nil {
		bad = decodeBody(body, &message)
	}
	f, goOn := r.disturb(w, message.Name, publishing, func(f *Faults) int { return f.PublishStatus })
	if !goOn {
		return
	}

	account, scopes, refused := r.authenticate(req)
	if refused == nil {
		refused = bad
	}
	if refused == nil {
		switch why := checkName(message.Name); {
		case why != "":
			refused = &refusal{http.StatusBadRequest, typeBadRequest, why}
		case message.Payload == nil:
			refused = &refusal{http.StatusBadRequest, typeBadRequest, "A payload is required."}
		case message.CorrelationID != "" && message.Snake != "" && message.CorrelationID != message.Snake:
			refused = &refusal{http.StatusBadRequest, typeBadRequest, "correlationId and correlation_id differ."}
		}
	}
	if refused == nil {
		refused = authorize(message.Name, "events:send", scopes)
	}
	if message.CorrelationID == "" {
		message.CorrelationID = message.Snake
	}
	entry := Published{
		At: time.Now(), Name: message.Name, CorrelationID: message.CorrelationID,
		Account: account, Payload: message.Payload, Status: http.StatusAccepted,
	}
	if refused != nil {
		entry.Status = refused.status
		r.note(entry, nil)
		r.cfg.Logger.Info("publish refused", "name", entry.Name, "correlation", short(entry.CorrelationID),
			"status", entry.Status, "why", refused.why)
		refused.write(w)
		return
	}

	entry.EventID = uuid.NewString()
	ev := &event{account: account, wire: wire{
		ID: entry.EventID, Name: message.Name, CorrelationID: message.CorrelationID,
		Account: account, CreatedAt: entry.At, Payload: message.Payload, Error: message.Error,
	}}
	ev.line = ev.wire.encode()
	listeners := r.note(entry, ev)
	r.cfg.Logger.Debug("publish", "name", entry.Name, "correlation", short(entry.CorrelationID),
		"listeners", listeners)
	r.answerPublish(w, req, &f, entry)
}

// answerPublish tells the client that entry was accepted, as far as f lets it.
func (r *run) answerPublish(w http.ResponseWriter, req *http.Request, f *Faults, entry Published) {
	r.pause(f.Delay + f.AnswerDelay)
	if r.roll(f.CutPublish, f.Rate) {
		reset(connOf(req))
		panic(http.ErrAbortHandler)
	}
	if r.roll(f.AnswerStatus != 0, f.Rate) {
		refusal{f.AnswerStatus, cmp.Or(statusTypes[f.AnswerStatus], "refused"), "The answer was lost on its way."}.write(w)
		return
	}
	answer := []byte(r.noiseIf(f))
	if len(answer) == 0 {
		answer, _ = json.Marshal(map[string]any{ // strings always encode
			"accepted": true, "id": entry.EventID, "name": entry.Name,
		})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(answer) // the client may be gone
}

// noiseIf returns the noise that GarbageBody puts in place of a body, or "".
func (e *Events) noiseIf(f *Faults) string {
	if e.roll(f.GarbageBody, f.Rate) {
		return e.noise()
	}
	return ""
}

func readBody(w http.ResponseWriter, req *http.Request) ([]byte, *refusal) {
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, &refusal{http.StatusBadRequest, typeBadRequest, "Content-Type must be application/json."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &refusal{http.StatusRequestEntityTooLarge, "request_body_too_large", "The event is too large."}
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, typeBadRequest, "The body could not be read."}
	}
	return body, nil
}

func decodeBody(body []byte, into any) *refusal {
	if err := json.Unmarshal(body, into); err != nil {
		return &refusal{http.StatusBadRequest, typeBadRequest, "The body must be one JSON object {name, correlationId, payload}."}
	}
	return nil
}

// note remembers entry and hands out its event, nil when refused, in one step:
// who sees one of them finds the other.
func (e *Events) note(entry Published, ev *event) (listeners int) {
	e.mu.Lock()
	e.published.add(entry)
	e.counts[publishKey{entry.Name, ev != nil}]++
	if ev != nil {
		listeners = e.broker.publish(ev)
	}
	e.mu.Unlock()
	e.changed.notify()
	return listeners
}

// Published returns the publish calls with this name, oldest first, refused
// ones among them; an empty name means all. The latest 131072 calls are kept.
func (e *Events) Published(name string) []Published {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []Published
	for _, entry := range e.published.latest() {
		if name == "" || entry.Name == name {
			found = append(found, entry)
		}
	}
	return found
}

// Accepted counts the accepted publishes of name since NewEvents.
func (e *Events) Accepted(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[publishKey{name, true}]
}

// WaitAccepted waits until n publishes of name have been accepted in all.
func (e *Events) WaitAccepted(ctx context.Context, name string, n int) error {
	return e.changed.wait(ctx, func() bool { return e.Accepted(name) >= n })
}

// short is enough of an id to tell two apart in a log: its end, because ids of
// one process often share their beginning.
func short(id string) string { return id[max(0, len(id)-8):] }
