package apierror

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"
)

// AppendEnvelope appends {"error":{"type","message",…,"request_id"}} to b,
// compact. An Extra member that cannot be encoded is left out.
func (e *Error) AppendEnvelope(b []byte, requestID string) []byte {
	b = append(b, `{"error":{"type":`...)
	b = appendJSON(b, string(e.Code))
	b = append(b, `,"message":`...)
	b = appendJSON(b, e.Message)
	for _, name := range e.extraNames() {
		value, err := encode(e.Extra[name])
		if err != nil {
			continue
		}
		b = append(b, ',')
		b = appendJSON(b, name)
		b = append(b, ':')
		b = append(b, value...)
	}
	if requestID != "" {
		b = append(b, `,"request_id":`...)
		b = appendJSON(b, requestID)
	}
	return append(b, `}}`...)
}

// extraNames are the members beside type and message, in a stable order.
func (e *Error) extraNames() []string {
	if len(e.Extra) == 0 {
		return nil
	}
	names := make([]string, 0, len(e.Extra))
	for name := range e.Extra {
		switch name {
		case "type", "message", "request_id":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// RetryAfterSeconds is the value of Retry-After, rounded up to whole seconds
// (RFC 9110 §10.2.3), or "" when there is none.
func (e *Error) RetryAfterSeconds() string {
	if e.RetryAfter <= 0 {
		return ""
	}
	return strconv.Itoa(int(math.Ceil(float64(e.RetryAfter) / float64(time.Second))))
}

func appendJSON(b []byte, text string) []byte {
	if plain(text) {
		return append(append(append(b, '"'), text...), '"')
	}
	quoted, _ := encode(text) // a string always encodes
	return append(b, quoted...)
}

// plain reports text that JSON shows as it is, as our own messages are.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// encode is json.Marshal without its HTML escapes, which no reader here needs.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
