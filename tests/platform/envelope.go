package platform

import (
	"encoding/json"
	"time"
)

// Envelope is one event as the Events API sends it, one JSON document a line.
type Envelope struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	CorrelationID string          `json:"correlationId"`
	Account       string          `json:"account"`
	Payload       json.RawMessage `json:"payload"`
	// Error is an event error: a string, or an object with type or code and
	// message. It may also stand inside Payload.
	Error json.RawMessage `json:"error"`
}

// parseEnvelope reads a line the tolerant way: unknown members are skipped, and
// `correlation_id` counts where `correlationId` is missing. ok is false for a
// line that is no envelope.
func parseEnvelope(line []byte) (env Envelope, ok bool) {
	var both struct {
		Envelope
		Snake string `json:"correlation_id"`
	}
	if err := json.Unmarshal(line, &both); err != nil || both.Name == "" {
		return Envelope{}, false
	}
	if both.CorrelationID == "" {
		both.CorrelationID = both.Snake
	}
	return both.Envelope, true
}

// event is an accepted event inside the Events API.
type event struct {
	seq     uint64
	wire    wire
	account string
	line    []byte // wire as JSON with its line end, shared and read-only
}

// wire is the full form of a line, with the members that only faults use.
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
	Error         json.RawMessage `json:"error,omitempty"`
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
