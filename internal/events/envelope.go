package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// Envelope is one event as it came on a reply stream.
type Envelope struct {
	// Name is the event name; that of the stream where the line gave none.
	Name string
	// CorrelationID is empty where the line gave none.
	CorrelationID string
	// Payload is the JSON text of the payload, nil where there was none. It is
	// shared by all who see the envelope: do not change it.
	Payload json.RawMessage
	// RequestedAt is when this process made the request that the envelope
	// answers, before it was published; zero for a request that is not known
	// to be this process's. It is set on repeated and late replies too, so
	// nothing in the envelope can be taken for newer than it is.
	RequestedAt time.Time

	failure json.RawMessage // member `error` of the envelope itself
}

// Err returns the event error in the envelope or in its payload as a
// *RemoteError, or nil.
func (e Envelope) Err() error {
	if failure := remoteError(e.failure); failure != nil {
		return failure
	}
	var payload struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(e.Payload, &payload) != nil {
		return nil // absent, or no object: it cannot hold an error
	}
	if failure := remoteError(payload.Error); failure != nil {
		return failure
	}
	return nil
}

// Decode reads the payload into v, as encoding/json does. Its error wraps
// ErrMalformed.
func (e Envelope) Decode(v any) error {
	if e.Payload == nil {
		return fmt.Errorf("%w: %s has no payload", ErrMalformed, e.Name)
	}
	if err := json.Unmarshal(e.Payload, v); err != nil {
		// The decoder's text may quote the payload.
		return fmt.Errorf("%w: the payload of %s: %s", ErrMalformed, e.Name, clean(err.Error(), maxMessage))
	}
	return nil
}

// decode reads one line; false means that it is no envelope. A line without a
// name is taken for the one event name of its stream, since streams have one.
func decode(line []byte) (Envelope, bool) {
	var wire struct {
		Name          string          `json:"name"`
		CorrelationID string          `json:"correlationId"`
		Snake         string          `json:"correlation_id"` // older components
		Payload       json.RawMessage `json:"payload"`
		Error         json.RawMessage `json:"error"`
	}
	if !utf8.Valid(line) { // encoding/json repairs strings only where it decodes them
		line = bytes.ToValidUTF8(line, []byte("\ufffd"))
	}
	if json.Unmarshal(line, &wire) != nil {
		return Envelope{}, false
	}
	if wire.CorrelationID == "" {
		wire.CorrelationID = wire.Snake
	}
	if wire.Name == "" && wire.CorrelationID == "" {
		return Envelope{}, false
	}
	if string(wire.Payload) == "null" {
		wire.Payload = nil
	}
	return Envelope{
		Name: wire.Name, CorrelationID: wire.CorrelationID, Payload: wire.Payload, failure: wire.Error,
	}, true
}
