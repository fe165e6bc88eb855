// Package usage makes the records that bill lifecycle operations, and sends them
// to the usage integration. What keeps them until they are sent is package store.
//
// An operation has one `requested` record, one terminal record that is `finished`
// or `failed`, and one correction where the terminal record said unknown and a
// reply came later. Each has an id that depends on nothing but the operation, so
// that sending a record again never bills twice.
package usage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// ErrRefused marks an answer of the usage integration that no repetition will change;
// any other error means "try again".
var ErrRefused = errors.New("the usage integration refused the record")

// Phase is a point in the life of an operation that has a record.
type Phase string

// The phases. Ended covers both terminal event types.
const (
	PhaseRequested  Phase = "requested"
	PhaseEnded      Phase = "ended"
	PhaseCorrection Phase = "correction" // of an end that was unknown
)

// Record is one usage record, in the JSON of `bus.usage.record.request`.
type Record struct {
	EventType  string    `json:"event_type"` // runtime_{start,stop}_{requested,finished,failed}
	EventID    string    `json:"event_id"`   // a UUID, the same for every delivery
	AccountID  string    `json:"account_id"` // a UUID
	OccurredAt time.Time `json:"occurred_at"`
	Data       Data      `json:"data"`
}

// Data is what a record says about its operation.
type Data struct {
	Action    lifecycle.Action `json:"action"`
	RequestID string           `json:"request_id"`
	Runtime   string           `json:"runtime"`
	// Outcome and DurationMS, from the request to the end, are absent from a
	// `requested` record.
	Outcome    lifecycle.Outcome `json:"outcome,omitempty"`
	DurationMS *int64            `json:"duration_ms,omitempty"`
	Joined     bool              `json:"joined,omitempty"`   // it had the outcome of another account's start
	Corrects   string            `json:"corrects,omitempty"` // the event id of the terminal record that said unknown
}

// New returns the record of op at phase, at that time. The outcome and took, from
// the request to the end, are those of an end or a correction.
func New(op lifecycle.Operation, phase Phase, at time.Time, outcome lifecycle.Outcome, took time.Duration) Record {
	r := Record{
		EventID:    EventID(op.ID, phase),
		AccountID:  op.Account,
		OccurredAt: at.Round(0).UTC().Truncate(time.Microsecond), // what the usual parsers keep
		Data:       Data{Action: op.Action, RequestID: op.RequestID, Runtime: lifecycle.Runtime},
	}
	kind := "failed"
	switch {
	case phase == PhaseRequested:
		kind = "requested"
	case outcome == lifecycle.Accepted:
		kind = "finished"
	}
	r.EventType = "runtime_" + string(op.Action) + "_" + kind
	if phase != PhaseRequested {
		ms := max(took, 0).Milliseconds()
		r.Data.Outcome, r.Data.DurationMS = outcome, &ms
	}
	if phase == PhaseCorrection {
		r.Data.Corrects = EventID(op.ID, PhaseEnded)
	}
	return r
}

// EventID is the id of an operation's record: a UUID of version 5 (RFC 9562
// §5.5) over the operation's id and the phase. It must never change between
// releases: the usage store recognises repetitions by it.
func EventID(operation string, phase Phase) string {
	name := "https://github.com/busdk/bus-api-provider-vm/operations/" + operation + "/" + string(phase)
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String()
}

// Reply is the reply stream that a Publisher needs its client to subscribe to.
var Reply = events.ReplyName(events.UsageRequest)

// final are words in errors that speak of the record, not of the integration. What
// is not known to be final is taken for something that passes.
var final = []string{
	"invalid", "malformed", "validation", "unsupported", "bad_request", "bad request",
	"not_found", "not found", "unknown_account", "unknown account", "no_such", "no such",
}

// isFinal reports an error that will come again. An older integration puts all it
// has to say into one text, another numbers its errors as HTTP does.
func isFinal(e *events.RemoteError) bool {
	kind := e.Type
	if kind == events.UnnamedError {
		kind = e.Message
	}
	return slices.Contains([]string{"400", "404", "413", "422"}, kind) ||
		slices.ContainsFunc(final, func(word string) bool { return strings.Contains(strings.ToLower(kind), word) })
}

// Publisher sends records to the usage integration over Events.
type Publisher struct{ Client *events.Client }

// Send publishes a record and returns nil once the integration acknowledged it. An
// error that wraps ErrRefused is final.
func (p Publisher) Send(ctx context.Context, correlationID string, record Record) error {
	err := p.Client.Do(ctx, events.Request{
		Name:          events.UsageRequest,
		CorrelationID: correlationID,
		Payload:       record,
		Decode:        events.Envelope.Err,
	})
	if remote, ok := errors.AsType[*events.RemoteError](err); ok && isFinal(remote) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Acknowledged calls see with the correlation id of each record that the integration
// acknowledges and no Send of this process waits for; replayed ones are from the
// history. It belongs before the client runs.
func (p Publisher) Acknowledged(see func(correlationID string, replayed bool)) {
	p.Client.Observe(Reply, func(e events.Envelope) {
		if e.Err() == nil {
			see(e.CorrelationID, e.Replayed)
		}
	})
}
