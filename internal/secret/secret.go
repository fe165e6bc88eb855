// Package secret holds values that must never be printed.
package secret

import "log/slog"

const redacted = "[redacted]"

// String is a secret text: every way of printing it yields a placeholder,
// Reveal alone yields the text.
type String struct{ text string }

// New wraps text.
func New(text string) String { return String{text} }

// Reveal returns the secret itself, for the one place that needs it.
func (s String) Reveal() string { return s.text }

// IsZero reports an unset secret.
func (s String) IsZero() bool { return s.text == "" }

func (s String) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// GoString covers %#v, which would otherwise show the field.
func (s String) GoString() string { return s.String() }

// LogValue covers slog.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText covers JSON, YAML and every other text encoding.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
