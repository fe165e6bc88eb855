// Package usage makes the records that bill lifecycle operations, sends them to
// the usage integration (Publisher), and keeps the latest for local checks
// (Memory). What keeps them on disk until they are sent is package outbox.
//
// An operation has exactly two records: `requested`, and one terminal record
// that is `finished` or `failed`. Each has an id that depends on nothing but
// the operation, so that sending a record again never bills twice.
package usage

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// ErrRefused marks an answer that no repetition will change: the usage
// integration read the record and will not have it. Who sends records
// wraps it; any other error means "try again".
var ErrRefused = errors.New("the usage integration refused the record")

// Phase is a point in the life of an operation that has a record.
type Phase string

// The phases. Ended covers both terminal event types, because an operation
// whose outcome was unknown may still turn out to have finished: its terminal
// record changes its type, never its id.
const (
	PhaseRequested Phase = "requested"
	PhaseEnded     Phase = "ended"
	// PhaseCorrection follows an end that was unknown.
	PhaseCorrection Phase = "correction"
)

// Record is one usage record, in the JSON of `bus.usage.record.request`.
type Record struct {
	// EventType is runtime_{start,stop}_{requested,finished,failed}.
	EventType string `json:"event_type"`
	// EventID is a UUID, the same for every delivery of the record.
	EventID string `json:"event_id"`
	// AccountID is the billing account, a UUID.
	AccountID  string    `json:"account_id"`
	OccurredAt time.Time `json:"occurred_at"`
	Data       Data      `json:"data"`
}

// Data is what a record says about its operation.
type Data struct {
	Action    lifecycle.Action `json:"action"`
	RequestID string           `json:"request_id"`
	Runtime   string           `json:"runtime"`
	// Outcome and DurationMS are absent from a `requested` record.
	Outcome lifecycle.Outcome `json:"outcome,omitempty"`
	// DurationMS runs from the request to the end of the operation.
	DurationMS *int64 `json:"duration_ms,omitempty"`
	// Joined marks an operation that had the outcome of another account's start.
	Joined bool `json:"joined,omitempty"`
	// Corrects is the event id of the terminal record that said unknown.
	Corrects string `json:"corrects,omitempty"`
}

// NewRequested returns the record that precedes the work of op.
func NewRequested(op lifecycle.Operation) Record {
	return record(op, PhaseRequested, "requested", op.RequestedAt)
}

// NewEnded returns the terminal record of op: `finished` when the outcome is
// accepted, `failed` otherwise. A negative duration counts as zero.
func NewEnded(op lifecycle.Operation, outcome lifecycle.Outcome, took time.Duration, at time.Time) Record {
	suffix := "failed"
	if outcome == lifecycle.Accepted {
		suffix = "finished"
	}
	ms := max(took, 0).Milliseconds()
	r := record(op, PhaseEnded, suffix, at)
	r.Data.Outcome = outcome
	r.Data.DurationMS = &ms
	return r
}

// At is a clock reading as records have it, in UTC to the microsecond: six digits
// are what the usual parsers keep.
func At(t time.Time) time.Time { return t.Round(0).UTC().Truncate(time.Microsecond) }

func record(op lifecycle.Operation, phase Phase, suffix string, at time.Time) Record {
	return Record{
		EventType:  "runtime_" + string(op.Action) + "_" + suffix,
		EventID:    EventID(op.ID, phase),
		AccountID:  op.Account,
		OccurredAt: At(at),
		Data:       Data{Action: op.Action, RequestID: op.RequestID, Runtime: lifecycle.Runtime},
	}
}

// EventID is the id of an operation's record: a UUID of version 5 (RFC 9562
// §5.5) over the operation's id and the phase. It must never change between
// releases: the usage store recognises repetitions by it.
func EventID(operation string, phase Phase) string {
	name := "https://github.com/busdk/bus-api-provider-vm/operations/" + operation + "/" + string(phase)
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String()
}
