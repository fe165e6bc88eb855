package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const canary = "hunter2-0123456789abcdef"

// holder is somebody else's struct; what prints it cannot call methods on the
// unexported fields.
type holder struct {
	Shown   secret.String
	Pointed *secret.String
	hidden  secret.String
	nested  struct{ list []secret.String }
	mapped  map[string]secret.String
	keyed   map[secret.String]int
	boxed   any
}

func newHolder() holder {
	s := secret.New(canary)
	h := holder{Shown: s, Pointed: &s, hidden: s, mapped: map[string]secret.String{"k": s}, keyed: map[secret.String]int{s: 1}, boxed: s}
	h.nested.list = []secret.String{s}
	return h
}

// leaks reports the secret in any spelling that a verb or an encoding could
// give it.
func leaks(text string) bool {
	lower := strings.ToLower(text)
	for _, spelling := range []string{
		canary,
		fmt.Sprintf("%x", canary), fmt.Sprintf("% x", canary), fmt.Sprintf("%v", []byte(canary)), fmt.Sprintf("%q", []rune(canary)[:3]),
	} {
		if strings.Contains(lower, spelling) {
			return true
		}
	}
	return false
}

func TestFmtPrintsNoSecret(t *testing.T) {
	s := secret.New(canary)
	for _, verb := range strings.Split("vTtbcdoOqxXUeEfFgGspwZ", "") {
		for _, flags := range []string{"", "+", "#", "-40", "040", "+#", " ", ".5"} {
			format := "%" + flags + verb
			for name, value := range map[string]any{
				"itself": s, "a pointer": &s, "a struct": newHolder(), "a pointer to a struct": &holder{hidden: s}, "a list": []any{s, []secret.String{s}},
			} {
				if got := fmt.Sprintf(format, value); leaks(got) {
					t.Errorf("%s of %s shows it: %s", format, name, got)
				}
			}
		}
	}
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintln(s, newHolder()), fmt.Errorf("with %v and %s", s, s).Error(), errors.Join(fmt.Errorf("%+v", newHolder())).Error()} {
		if leaks(got) {
			t.Errorf("it shows: %s", got)
		}
	}
	if got := fmt.Sprintf("%v|%s|%q|%d|%#v|%v", s, s, s, s, s, secret.String{}); got != strings.Repeat("[redacted]|", 5) {
		t.Errorf("got %s", got)
	}
}

func TestLogsShowNoSecret(t *testing.T) {
	var b bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		s := secret.New(canary)
		logger := slog.New(handler).With("bound", s).WithGroup("group")
		logger.Error("x", "secret", s, "pointer", &s, "struct", newHolder(), "any", slog.AnyValue(s), "list", []secret.String{s}, "error", fmt.Errorf("%v", s))
	}
	if got := b.String(); leaks(got) || strings.Count(got, "[redacted]") < 8 {
		t.Errorf("got %s", got)
	}
}

func TestEncodingsHoldNoSecret(t *testing.T) {
	type document struct {
		Secret  secret.String            `json:"secret" yaml:"secret" xml:"secret"`
		Pointed *secret.String           `json:"pointed" yaml:"pointed" xml:"pointed"`
		Mapped  map[string]secret.String `json:"mapped" yaml:"mapped" xml:"-"`
	}
	s := secret.New(canary)
	d := document{s, &s, map[string]secret.String{"k": s}}
	for name, encode := range map[string]func(any) ([]byte, error){
		"JSON": json.Marshal, "YAML": yaml.Marshal, "XML": xml.Marshal,
		"gob": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
	} {
		got, err := encode(d)
		if leaks(string(got)) {
			t.Errorf("%s holds it: %s", name, got)
		}
		if err == nil && name != "gob" && strings.Count(string(got), "[redacted]") < 2 {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got, err := json.Marshal(map[secret.String]secret.String{s: s}); err != nil || string(got) != `{"[redacted]":"[redacted]"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestRevealAndEquality(t *testing.T) {
	for _, text := range []string{"", "x", canary} {
		s := secret.New(text)
		if s.Reveal() != text || s.IsZero() != (text == "") || s != secret.New(strings.Clone(text)) {
			t.Errorf("%q became %q, zero: %t", text, s.Reveal(), s.IsZero())
		}
	}
	if secret.New("a") == secret.New("b") || secret.New("") != (secret.String{}) {
		t.Error("equality is not that of the texts")
	}
}
