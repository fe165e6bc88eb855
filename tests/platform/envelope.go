package platform

import (
	"encoding/json"
	"time"
)

// event is an accepted event inside the Events API.
type event struct {
	seq  uint64
	wire wire
	line []byte // wire as JSON with its line end, shared and read-only
}

// wire is one event as the Events API sends it, one JSON document a line, with
// the members that only faults use.
type wire struct {
	// Padding comes first, so that no reader finds the id before the bulk.
	Padding       string          `json:"padding,omitempty"`
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	CorrelationID string          `json:"correlationId,omitempty"`
	Snake         string          `json:"correlation_id,omitempty"`
	Account       string          `json:"account"`
	CreatedAt     time.Time       `json:"createdAt"`
	Unknown       json.RawMessage `json:"x_future,omitempty"`
	Payload       json.RawMessage `json:"payload"`
	// Error is an event error: a string, or an object with type or code and
	// message. It may also be inside Payload.
	Error json.RawMessage `json:"error,omitempty"`
}

// encode renders w as one line. Marshal compacts the raw members, so no line
// feed of a publisher's JSON survives inside.
func (w wire) encode() []byte {
	line, err := json.Marshal(w)
	if err != nil {
		panic(err) // raw members were validated when the event was accepted
	}
	return append(line, '\n')
}
