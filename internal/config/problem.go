package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/files"
)

// Error is everything that is wrong with flags, environment and file, at once.
// The process ends with exit code 2, or 1 if all of it MayPass.
type Error struct {
	Problems []Problem
	passing  []Problem // those of them that may pass
}

// Problem is one thing that is wrong. It never holds the value of a secret.
type Problem struct {
	Key    string // the setting, empty when the problem belongs to none
	Source string // where the value came from, empty when it was not set
	Text   string // what is wrong and what is allowed
}

func (p Problem) String() string {
	switch {
	case p.Key == "" && p.Source == "":
		return p.Text
	case p.Key == "":
		return p.Source + ": " + p.Text
	case p.Source == "":
		return p.Key + ": " + p.Text
	}
	return p.Key + " (" + p.Source + "): " + p.Text
}

// Refuse is an *Error of one problem, for what shows later that a setting
// cannot be obeyed.
func Refuse(key, format string, args ...any) error {
	e := new(Error)
	e.Add(key, "", format, args...)
	return e
}

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

// Add is for a problem of the setting key, with where its value came from, both
// as in Problem. An error that %w wraps tells whether it may pass.
func (e *Error) Add(key, source, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	text := err.Error()
	if errors.Is(err, fs.ErrPermission) {
		text += "; run this as root, or as another user who may read the file; systemd hands it to a service by LoadCredential="
	}
	problem := Problem{key, source, text}
	e.Problems = append(e.Problems, problem)
	if files.MayPass(err) {
		e.passing = append(e.passing, problem)
	}
}

// MayPass reports that nothing is wrong but file systems that fail or hang.
func (e *Error) MayPass() bool {
	return !slices.ContainsFunc(e.Problems, func(p Problem) bool { return !slices.Contains(e.passing, p) })
}

// OrNil is e if there are problems.
func (e *Error) OrNil() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}

// Suggest ends a message about a mistyped name with the known one that it most
// likely stands for: one that begins with it, or differs from it in a third of its
// letters at most. A key in another section counts as one wrong letter. It is empty
// when there is none.
func Suggest(name string, known []string) (words string) {
	last := func(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
	typed := strings.TrimLeft(name, "-")
	least := len(last(typed))/3 + 1
	for _, candidate := range known {
		bare := strings.TrimLeft(candidate, "-")
		wrong := min(difference(typed, bare), 1+difference(last(typed), last(bare)))
		if len(typed) > 2 && strings.HasPrefix(bare, typed) {
			wrong = min(wrong, 1)
		}
		if wrong < least {
			words, least = "; did you mean "+candidate+"?", wrong
		}
	}
	return words
}

// difference is the number of letters between the beginning and the end that
// two names share: one for a slip, two for letters that changed places.
func difference(a, b string) int {
	head, tail, shorter := 0, 0, min(len(a), len(b))
	for head < shorter && a[head] == b[head] {
		head++
	}
	for tail < shorter-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return max(len(a), len(b)) - head - tail
}
