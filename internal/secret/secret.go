// Package secret holds values that must never be printed.
package secret

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unique"
)

// Redacted stands for a secret in every output.
const Redacted = "[redacted]"

// ByteOrderMark is what some editors put in front of a text, and no secret has.
const ByteOrderMark = "\ufeff"

// Trim is text without white space and byte order marks around it.
func Trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || string(r) == ByteOrderMark })
}

// String is a secret text: every way of printing it yields a placeholder,
// Reveal alone yields the text. Two of them are equal (==) when their texts
// are.
//
// The text is behind a pointer because fmt cannot call the methods below on an
// unexported field of another package's struct: there it prints an address.
type String struct{ text unique.Handle[string] }

// New wraps text.
func New(text string) String {
	if text == "" {
		return String{}
	}
	return String{unique.Make(text)}
}

// Reveal returns the secret itself, for the one place that needs it.
func (s String) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// IsZero reports an unset secret.
func (s String) IsZero() bool { return s == String{} }

func (s String) String() string {
	if s.IsZero() {
		return ""
	}
	return Redacted
}

// Format covers every verb of fmt, those included that make no sense of a text.
func (s String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText covers slog, JSON, YAML and every other text encoding.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
