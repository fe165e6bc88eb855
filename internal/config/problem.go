package config

import (
	"errors"
	"fmt"
	"strings"
)

// Error is everything that is wrong with flags, environment and file, at once.
// The process ends with exit code 2.
type Error struct{ Problems []Problem }

// Problem is one thing that is wrong. It never holds the value of a secret.
type Problem struct {
	// Key is the setting, empty when the problem belongs to none.
	Key string
	// Source says where the value came from, empty when it was not set.
	Source string
	// Text says what is wrong and what is allowed.
	Text string
}

func (p Problem) String() string {
	text := p.Key
	if p.Source != "" {
		text = strings.TrimPrefix(text+" ("+p.Source+")", " ")
	}
	if text == "" {
		return p.Text
	}
	return text + ": " + p.Text
}

// Refuse is an *Error of one problem, for what shows later that a setting
// cannot be obeyed.
func Refuse(key, text string) error { return &Error{[]Problem{{Key: key, Text: text}}} }

func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0].String()
	}
	text := fmt.Sprintf("%d problems with the settings", len(e.Problems))
	for _, p := range e.Problems {
		text += "\n  " + p.String()
	}
	return text
}

func (e *Error) add(key, source, format string, args ...any) {
	e.Problems = append(e.Problems, Problem{key, source, fmt.Sprintf(format, args...)})
}

// orNil is e if there are problems.
func (e *Error) orNil() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}

// Join puts the problems of several *Error together; nil errors count for
// nothing, and of errors of another type the first is returned.
func Join(errs ...error) error {
	var all Error
	for _, err := range errs {
		var e *Error
		switch {
		case errors.As(err, &e):
			all.Problems = append(all.Problems, e.Problems...)
		case err != nil:
			return err
		}
	}
	return all.orNil()
}

// maxQuoted bounds a value in a message, in bytes.
const maxQuoted = 80

// quote shows a value that is no secret.
func quote(text string) string {
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}
