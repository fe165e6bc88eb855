package platform

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Published is one publish call that the API answered or meant to answer.
type Published struct {
	At            time.Time
	Name          string // empty when the body could not be read
	CorrelationID string
	Account       string // `sub` of the token; empty without a valid one
	Payload       json.RawMessage
	Error         json.RawMessage // of a reply; nil without
	// Status is 202, or that of the refusal. Refusals that a fault makes do
	// not show here: the API never saw the request.
	Status int
}

// publish answers POST {collection}.
func (r *run) publish(w http.ResponseWriter, req *http.Request) {
	var message struct {
		Name          string          `json:"name"`
		CorrelationID string          `json:"correlationId"`
		Payload       json.RawMessage `json:"payload"`
		Error         json.RawMessage `json:"error"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(body, &message)
	}
	f, goOn := r.disturb(w, message.Name, publishing)
	if !goOn {
		return
	}
	account, refused := r.admit(req, message.Name, "events:send")
	if refused == nil && (err != nil || message.Payload == nil || req.Header.Get("Content-Type") != "application/json") {
		refused = &refusal{http.StatusBadRequest, "The body must be one JSON object {name, correlationId, payload}."}
	}
	entry := Published{
		At: time.Now(), Name: message.Name, CorrelationID: message.CorrelationID,
		Account: account, Payload: message.Payload, Error: message.Error, Status: http.StatusAccepted,
	}
	if refused != nil {
		entry.Status = refused.status
		r.note(entry, nil)
		r.cfg.Logger.Info("publish refused", "name", entry.Name, "correlation", short(entry.CorrelationID),
			"status", entry.Status, "why", refused.why)
		refused.write(w)
		return
	}

	ev := &event{wire: wire{
		ID: uuid.NewString(), Name: message.Name, CorrelationID: message.CorrelationID,
		Account: account, CreatedAt: entry.At, Payload: message.Payload, Error: message.Error,
	}}
	ev.line = ev.wire.encode()
	listeners := r.note(entry, ev)
	r.cfg.Logger.Debug("publish", "name", entry.Name, "correlation", short(entry.CorrelationID), "listeners", listeners)
	r.answerPublish(w, req, &f, ev)
}

// answerPublish tells the client that ev was accepted, as far as f lets it.
func (r *run) answerPublish(w http.ResponseWriter, req *http.Request, f *Faults, ev *event) {
	r.pause(f.Delay + f.AnswerDelay)
	if r.roll(f.CutPublish, f.Rate) {
		reset(connOf(req))
		panic(http.ErrAbortHandler)
	}
	if r.roll(f.AnswerStatus != 0, f.Rate) {
		refusal{f.AnswerStatus, "The answer was lost on its way."}.write(w)
		return
	}
	answer := []byte(r.noiseIf(f))
	if len(answer) == 0 {
		answer, _ = json.Marshal(map[string]any{"accepted": true, "id": ev.wire.ID, "name": ev.wire.Name}) // always encodes
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(answer) // the client may be gone
}

// note remembers entry and hands out its event, nil when refused, in one step:
// who sees one of them finds the other.
func (e *Events) note(entry Published, ev *event) (listeners int) {
	e.mu.Lock()
	e.published = append(e.published, entry)
	if ev != nil {
		e.counts[entry.Name]++
		listeners = e.broker.publish(ev)
	}
	e.mu.Unlock()
	e.changed.notify()
	return listeners
}

// Published returns the publish calls with this name, oldest first, refused
// ones among them; an empty name means all.
func (e *Events) Published(name string) []Published {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []Published
	for _, entry := range e.published {
		if name == "" || entry.Name == name {
			found = append(found, entry)
		}
	}
	return found
}

// Accepted counts the accepted publishes of name.
func (e *Events) Accepted(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[name]
}

// WaitAccepted waits until n publishes of name have been accepted in all.
func (e *Events) WaitAccepted(ctx context.Context, name string, n int) error {
	return e.changed.wait(ctx, func() bool { return e.Accepted(name) >= n })
}

// short is enough of an id to tell two apart in a log: its end, because ids of
// one process often share their beginning.
func short(id string) string { return id[max(0, len(id)-8):] }
