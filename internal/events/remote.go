package events

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
)

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
// token; neither is empty.
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
		if kind = text(value["type"]); kind == "" {
			kind = text(value["code"])
		}
		message = text(value["message"])
	}
	e := &RemoteError{Type: clean(kind, maxType), Message: clean(message, maxMessage)}
	if e.Type == "" {
		e.Type = UnnamedError
	}
	if e.Message == "" {
		e.Message = unnamedMessage
	}
	return e
}

func text(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case bool:
		return !value
	case string:
		return value == ""
	case json.Number:
		return value == "0"
	case map[string]any:
		for _, member := range value {
			if !isEmpty(member) {
				return false
			}
		}
		return true
	}
	return false
}

// tokenLike finds credentials in free text: what follows `Bearer`, what begins
// like a JOSE header (`{"` in base64url), and three long base64url parts with
// dots between them (RFC 7515 §7.1).
var tokenLike = regexp.MustCompile(`(?i:bearer\s+)[^\s"',;]+` +
	`|ey[IJ][A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*` +
	`|[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`)

// scanned bounds the work on a text of which little is kept.
const scanned = 8 << 10

// clean makes foreign text fit to be passed on: printable, valid UTF-8, on one
// line, without anything that looks like a token, and at most limit bytes.
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
	s = strings.TrimSpace(tokenLike.ReplaceAllString(s, "[redacted]"))
	for len(s) > limit {
		s = s[:limit]
		s = strings.ToValidUTF8(s, "")
	}
	return s
}

// Clean makes foreign text fit to be shown: see RemoteError.
func Clean(s string) string { return clean(s, maxMessage) }
