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
	// Source says where the value came from, empty when nobody set one.
	Source string
	// Text says what is wrong and what is allowed.
	Text string
}

func (p Problem) String() string {
	text := p.Key
	if p.Source != "" {
		if text != "" {
			text += " "
		}
		text += "(" + p.Source + ")"
	}
	if text == "" {
		return p.Text
	}
	return text + ": " + p.Text
}

func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	switch len(e.Problems) {
	case 1:
		return e.Problems[0].String()
	default:
		lines = append(lines, fmt.Sprintf("%d problems with the settings", len(e.Problems)))
	}
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}

// Refuse is an *Error of one problem, for whoever finds later that a setting
// cannot be obeyed.
func Refuse(key, text string) error { return &Error{Problems: []Problem{{Key: key, Text: text}}} }

// Join puts the problems of several *Error together; nil errors count for
// nothing, and of errors of another type the first is returned.
func Join(errs ...error) error {
	var all []Problem
	for _, err := range errs {
		if err == nil {
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			return err
		}
		all = append(all, e.Problems...)
	}
	return problems(all).err()
}

// problems collects what is wrong.
type problems []Problem

func (p *problems) add(key, source, format string, args ...any) {
	*p = append(*p, Problem{Key: key, Source: source, Text: fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &Error{Problems: p}
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
