package events

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Envelope is one event as it came on a reply stream.
type Envelope struct {
	Name          string         // that of the stream where the line gave none
	CorrelationID string         // empty where the line gave none
	Payload       jsontext.Value // nil for none; shared by all who see the envelope: do not change it
	Replayed      bool           // it is from the history, of an unknown age

	failure   jsontext.Value // member `error` of the envelope itself
	malformed bool           // payload or error stands in it twice
}

// Fields reads the payload. The error is a *RemoteError when the envelope or its
// payload holds an event error; any other wraps ErrMalformed.
func (e Envelope) Fields() (Fields, error) {
	fields, err := ReadFields(e.Payload)
	switch failure, inside := remoteError(e.failure), remoteError(fields["error"]); {
	case e.malformed, errors.Is(err, errRepeated):
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

// Fields are the members of a JSON object by their exact names; one that is null
// or repeated is absent. encoding/json would take ALLOWED for allowed.
type Fields map[string]jsontext.Value

var (
	errNoObject = fmt.Errorf("%w: no JSON object", ErrMalformed)
	errRepeated = fmt.Errorf("%w: a member that decides is repeated", ErrMalformed)
)

// ReadFields reads the JSON object raw. Its error wraps ErrMalformed: raw is no
// JSON object, or one of the members that say what an answer is stands in it twice.
func ReadFields(raw []byte) (Fields, error) {
	fields, repeated, err := readFields(raw)
	if hasAny(repeated, "allowed", "accepted", "state", "status", "error") {
		return nil, errRepeated
	}
	return fields, err
}

// readFields also returns which members are repeated.
func readFields(raw []byte) (Fields, []string, error) {
	var o object
	if err := json.Unmarshal(raw, &o, tolerant); err != nil {
		return nil, nil, errNoObject
	}
	for _, name := range o.repeated {
		delete(o.fields, name)
	}
	maps.DeleteFunc(o.fields, func(_ string, value jsontext.Value) bool { return value.Kind() == 'n' })
	return o.fields, o.repeated, nil
}

// object is a JSON object, member by member.
type object struct {
	fields   Fields
	repeated []string
}

func (o *object) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	if begin, err := in.ReadToken(); err != nil || begin.Kind() != '{' {
		return errNoObject
	}
	o.fields = make(Fields)
	for in.PeekKind() == '"' {
		token, err := in.ReadToken()
		if err != nil {
			return err
		}
		name := token.String() // the token ends with the next read
		value, err := in.ReadValue()
		if err != nil {
			return err
		}
		if o.fields[name] != nil {
			o.repeated = append(o.repeated, name)
		}
		o.fields[name] = value.Clone()
	}
	_, err := in.ReadToken()
	return err
}

// tolerant reads what other components write: only members that matter must be
// unique, and only what is passed on must be valid UTF-8.
var tolerant = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func hasAny(names []string, wanted ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(wanted, name) })
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
	maxPassedOn = 64 << 10 // bytes of details and usage as they reach callers, in compact JSON
	maxLevels   = 32       // of their nesting
)

// PassedOn returns the value of a member as it may reach callers, compact: of
// at most 64 KiB and 32 levels, in valid UTF-8, its numbers such as a double can
// hold. Its error wraps ErrMalformed.
func (f Fields) PassedOn(name string) ([]byte, error) {
	value := f[name].Clone()
	_ = value.Compact(jsontext.AllowDuplicateNames(true)) // it was read as JSON
	in := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowDuplicateNames(true))
	why := ""
	if len(value) > maxPassedOn {
		why = "too large"
	}
	for why == "" {
		token, err := in.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return value, nil
		case err != nil:
			why = "not valid UTF-8"
		case in.StackDepth() > maxLevels:
			why = "nested too deeply"
		case token.Kind() == '0' && !isDouble(token.String()):
			why = "a number is out of range"
		}
	}
	return nil, fmt.Errorf("%w: %s: %s", ErrMalformed, name, why)
}

func isDouble(number string) bool {
	_, err := strconv.ParseFloat(number, 64)
	return err == nil
}

// decode reads one line; false means that it is no envelope, or has neither a
// name nor one correlation id. A line without a name is taken for the one event name of its
// stream, since streams have one.
func decode(line []byte) (Envelope, bool) {
	const older = "correlation_id" // in older components
	fields, repeated, err := readFields(line)
	if err != nil || hasAny(repeated, "name", "correlationId", older) {
		return Envelope{}, false
	}
	e := Envelope{Payload: fields["payload"], failure: fields["error"], malformed: hasAny(repeated, "payload", "error")}
	e.Name, _ = fields.Text("name")
	if e.CorrelationID, _ = fields.Text("correlationId"); e.CorrelationID == "" {
		e.CorrelationID, _ = fields.Text(older)
	}
	return e, e.Name != "" || e.CorrelationID != ""
}

const (
	// What is passed on of an integration's own error, in bytes.
	maxType, maxMessage = 64, 512
	// UnnamedError is the type of an event error that names none.
	UnnamedError   = "integration_error"
	unnamedMessage = "The integration reported an error without a message."
)

// RemoteError is an integration's own answer that it failed. Type and Message
// are bounded (64 and 512 bytes), printable, and free of what looks like a
// credential; neither is empty.
type RemoteError struct{ Type, Message string }

func (e *RemoteError) Error() string { return e.Type + ": " + e.Message }

// remoteError reads an event error: a string, or an object with `type` or
// `code` and `message`. JSON's empty values (null, "", false, 0, {} and an object
// of nothing but such) say that there is no error; anything else is one.
func remoteError(raw jsontext.Value) *RemoteError {
	fields, repeated, _ := readFields(raw)
	empty := func(value jsontext.Value) bool {
		return slices.Contains([]string{"", "null", "false", "0", `""`, "{}"}, string(value))
	}
	something := len(repeated) > 0 || fields == nil
	for _, value := range fields {
		something = something || !empty(value)
	}
	if empty(raw) || !something {
		return nil
	}
	kind, message := cmp.Or(text(fields["type"]), text(fields["code"])), text(fields["message"])
	if fields == nil {
		message = text(raw)
	}
	return &RemoteError{
		Type:    cmp.Or(clean(kind, maxType), UnnamedError),
		Message: cmp.Or(clean(message, maxMessage), unnamedMessage),
	}
}

// text is that of a string or a number.
func text(value jsontext.Value) string {
	if value.Kind() == '0' {
		return string(value)
	}
	text, _ := jsontext.AppendUnquote(nil, value)
	return string(text)
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
