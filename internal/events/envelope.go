package events

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Envelope is one event as it came on a reply stream.
type Envelope struct {
	// Name is the event name; that of the stream where the line gave none.
	Name string
	// CorrelationID is empty where the line gave none.
	CorrelationID string
	// Payload is the JSON text of the payload, nil where there was none. It is
	// shared by all who see the envelope: do not change it.
	Payload jsontext.Value
	// Replayed: it is from the history, of an unknown age.
	Replayed bool

	failure   jsontext.Value // member `error` of the envelope itself
	malformed bool           // payload or error stands in it twice
}

// Fields reads the payload's members called names. The error is a *RemoteError
// when the envelope or its payload holds an event error; any other wraps
// ErrMalformed.
func (e Envelope) Fields(names ...string) (Fields, error) {
	fields, repeated, err := readFields(e.Payload, append(names, "error"))
	switch failure, inside := remoteError(e.failure), remoteError(fields["error"]); {
	case e.malformed || slices.ContainsFunc(repeated, decides):
		return nil, fmt.Errorf("%w: a member of %s is repeated", ErrMalformed, e.Name)
	case failure != nil:
		return nil, failure
	case err != nil:
		return nil, fmt.Errorf("the payload of %s: %w", e.Name, err)
	case inside != nil:
		return nil, inside
	}
	return fields, nil
}

// Err returns the event error in the envelope or in its payload as a
// *RemoteError, an ErrMalformed where members that say so are repeated, or nil:
// what is no object holds no error.
func (e Envelope) Err() error {
	_, err := e.Fields()
	if errors.Is(err, errNoObject) {
		return nil
	}
	return err
}

// Fields are members of a JSON object by their exact names; a member that is
// null is absent.
type Fields map[string]jsontext.Value

// tolerant reads what other components write: only the members that are asked
// for must be unique, and only what is passed on must be valid UTF-8.
var tolerant = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// ReadFields reads the members called names of the JSON object raw. Names match
// exactly; encoding/json would take ALLOWED for allowed. Its error wraps
// ErrMalformed: raw is no JSON object, or a member that decides is repeated. Any
// other repeated member is absent.
func ReadFields(raw []byte, names ...string) (Fields, error) {
	fields, repeated, err := readFields(raw, names)
	if slices.ContainsFunc(repeated, decides) {
		return nil, fmt.Errorf("%w: one of the members %q is repeated", ErrMalformed, repeated)
	}
	return fields, err
}

// decides reports the members of a payload that say what the answer is.
func decides(name string) bool {
	return slices.Contains([]string{"allowed", "accepted", "state", "status", "error"}, name)
}

var errNoObject = fmt.Errorf("%w: no JSON object", ErrMalformed)

// readFields also returns which of names are repeated.
func readFields(raw []byte, names []string) (fields Fields, repeated []string, _ error) {
	in := jsontext.NewDecoder(bytes.NewBuffer(raw), tolerant...)
	if first, err := in.ReadToken(); err != nil || first.Kind() != '{' {
		return nil, nil, errNoObject
	}
	fields = make(Fields, len(names))
	seen := make([]bool, len(names))
	for in.PeekKind() != '}' {
		name, err := in.ReadToken()
		at := slices.Index(names, name.String()) // before name is overwritten
		value, invalid := in.ReadValue()
		if cmp.Or(err, invalid) != nil {
			return nil, nil, errNoObject
		}
		switch {
		case at < 0:
		case seen[at]:
			repeated = append(repeated, names[at])
			delete(fields, names[at])
		default:
			seen[at] = true
			if value.Kind() != 'n' {
				fields[names[at]] = value.Clone()
			}
		}
	}
	_, _ = in.ReadToken() // the closing brace
	if _, err := in.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, errNoObject
	}
	return fields, repeated, nil
}

// Text returns a string member; false where it is absent, of another type, or
// no valid UTF-8, of which the text has the rest.
func (f Fields) Text(name string) (string, bool) {
	text, err := jsontext.AppendUnquote(nil, f[name])
	return string(text), err == nil
}

// Bool returns a boolean member; ok is false where it is absent or of another
// type.
func (f Fields) Bool(name string) (value, ok bool) {
	kind := f[name].Kind()
	return kind == 't', kind == 't' || kind == 'f'
}

const (
	// maxPassedOn bounds details and usage as they reach callers, in bytes of
	// compact JSON.
	maxPassedOn = 64 << 10
	// maxLevels bounds their nesting.
	maxLevels = 32
)

// PassedOn returns the value of a member as it may reach callers, compact: of
// at most 64 KiB and 32 levels, in valid UTF-8, its numbers such as a double can
// hold. Its error wraps ErrMalformed.
func (f Fields) PassedOn(name string) (json.RawMessage, error) {
	malformed := func(why string) error { return fmt.Errorf("%w: %s: %s", ErrMalformed, name, why) }
	value := f[name].Clone()
	switch err := value.Compact(jsontext.AllowDuplicateNames(true)); {
	case err != nil:
		return nil, malformed("no JSON, or not valid UTF-8")
	case len(value) > maxPassedOn:
		return nil, malformed("too large")
	}
	in := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowDuplicateNames(true))
	for {
		token, err := in.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return json.RawMessage(value), nil
		case err != nil: // Compact does not look at UTF-8
			return nil, malformed("no JSON")
		case in.StackDepth() > maxLevels:
			return nil, malformed("nested too deeply")
		case token.Kind() == '0':
			if _, err := strconv.ParseFloat(token.String(), 64); err != nil {
				return nil, malformed("a number is out of range")
			}
		}
	}
}

// decode reads one line; false means that it is no envelope, or has neither a
// name nor one correlation id. A line without a name is taken for the one event name of its
// stream, since streams have one.
func decode(line []byte) (Envelope, bool) {
	names := []string{"name", "correlationId", "correlation_id", "payload", "error"} // the third in older components
	fields, repeated, err := readFields(line, names)
	if err != nil || slices.ContainsFunc(repeated, func(name string) bool { return slices.Contains(names[:3], name) }) {
		return Envelope{}, false
	}
	e := Envelope{Payload: fields["payload"], failure: fields["error"], malformed: len(repeated) > 0} // of the payload or the error
	e.Name, _ = fields.Text("name")
	if e.CorrelationID, _ = fields.Text("correlationId"); e.CorrelationID == "" {
		e.CorrelationID, _ = fields.Text("correlation_id")
	}
	return e, e.Name != "" || e.CorrelationID != ""
}

// What is passed on of an integration's own error, in bytes.
const (
	maxType    = 64
	maxMessage = 512
)

// UnnamedError is the type of an event error that names none.
const UnnamedError = "integration_error"

const unnamedMessage = "The integration reported an error without a message."

// RemoteError is an integration's own answer that it failed. Type and Message
// are bounded (64 and 512 bytes), printable, and free of what looks like a
// credential; neither is empty.
type RemoteError struct{ Type, Message string }

func (e *RemoteError) Error() string { return e.Type + ": " + e.Message }

// remoteError reads an event error: a string, or an object with `type` or
// `code` and `message`. JSON's empty values (null, "", false, {} and an object
// of nothing but such) say that there is no error; anything else is one.
func remoteError(raw []byte) *RemoteError {
	if len(raw) == 0 {
		return nil
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a code of 404 reads 404
	if decoder.Decode(&value) != nil || isEmpty(value) {
		return nil
	}
	var kind, message string
	switch value := value.(type) {
	case string:
		message = value
	case map[string]any:
		kind, message = cmp.Or(text(value["type"]), text(value["code"])), text(value["message"])
	}
	return &RemoteError{
		Type:    cmp.Or(clean(kind, maxType), UnnamedError),
		Message: cmp.Or(clean(message, maxMessage), unnamedMessage),
	}
}

func text(value any) string {
	switch value.(type) {
	case string, json.Number:
		return fmt.Sprint(value)
	}
	return ""
}

func isEmpty(value any) bool {
	object, ok := value.(map[string]any)
	for _, member := range object {
		if !isEmpty(member) {
			return false
		}
	}
	return ok || value == nil || value == false || value == "" || value == json.Number("0")
}

// scanned bounds the work on a text of which little is kept.
const scanned = 8 << 10

// clean makes foreign text fit to be passed on: printable, valid UTF-8, on one
// line, without anything that looks like a credential, and at most limit bytes.
func clean(s string, limit int) string {
	s = s[:min(len(s), scanned)]
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1 // before the search: it could hide a token
		}
		return r
	}, s)
	s = strings.TrimSpace(secret.Redact(s))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// Clean makes foreign text fit to be shown: see RemoteError.
func Clean(s string) string { return clean(s, maxMessage) }
