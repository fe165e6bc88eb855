// Package snapshot keeps the latest known status of the runtime as the bytes
// that answer a read.
package snapshot

import (
	"bytes"
	"encoding/json"
)

// Status is what a caller may see of the runtime.
type Status struct {
	// State is shown as it is; known ones are ready, starting, stopping,
	// stopped and unavailable.
	State string
	// Provider names what runs the runtime, for example static or upcloud.
	Provider string
	// Details is a JSON object, or nil for none.
	Details json.RawMessage
}

// Render returns {"status":{"state","provider","details"?}}, compact.
func (s Status) Render() ([]byte, error) {
	type fields struct {
		State    string          `json:"state"`
		Provider string          `json:"provider"`
		Details  json.RawMessage `json:"details,omitempty"`
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Status fields `json:"status"`
	}{fields(s)})
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
