package secret

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

	"github.com/stretchr/testify/assert"
	"go.yaml.in/yaml/v3"
)

const text = "hunter2-hunter2"

// holders are the ways in which a secret ends up in something printed.
func holders() map[string]any {
	s := New(text)
	type exported struct{ Secret String }
	type hidden struct{ secret String }
	type deep struct {
		list    []hidden
		pointer *hidden
		byName  map[string]String
		any     any
	}
	return map[string]any{
		"itself":            s,
		"a pointer":         &s,
		"an exported field": exported{s},
		"a hidden field":    hidden{s},
		"a pointer to one":  &hidden{s},
		"a list":            []String{s},
		"a map":             map[string]String{"a": s},
		"a map key":         map[String]int{s: 1},
		"deep within":       deep{[]hidden{{s}}, &hidden{s}, map[string]String{"a": s}, s},
		"an error":          fmt.Errorf("with %v: %w", s, errors.New("x")),
	}
}

// Whatever holds a secret, and however it is printed, the text does not show.
func TestNothingPrintsASecret(t *testing.T) {
	for name, holder := range holders() {
		var prints []string
		for _, verb := range "vsqxXdtTobcUeEfFgGpw" {
			for _, flags := range []string{"", "+", "#", " ", "-40", "0", ".3", "+#"} {
				prints = append(prints, fmt.Sprintf("%"+flags+string(verb), holder))
			}
		}
		prints = append(prints, fmt.Sprint(holder), fmt.Sprintln(holder))
		var log bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(handler).Info("x", "holder", holder, slog.Group("g", "holder", holder))
		}
		prints = append(prints, log.String())
		if b, err := json.Marshal(holder); err == nil {
			prints = append(prints, string(b))
		}
		if b, err := xml.Marshal(holder); err == nil {
			prints = append(prints, string(b))
		}
		if name != "a map key" && name != "deep within" && name != "an error" { // yaml.v3 panics on those, with or without secrets
			if b, err := yaml.Marshal(holder); err == nil {
				prints = append(prints, string(b))
			}
		}
		var encoded bytes.Buffer
		if gob.NewEncoder(&encoded).Encode(holder) == nil {
			prints = append(prints, encoded.String())
		}
		for _, print := range prints {
			for _, form := range []string{text, text[:3], fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprint([]byte(text))} {
				if strings.Contains(print, form) {
					t.Errorf("%s printed %q", name, print)
				}
			}
		}
	}
}

func TestWhatShowsInstead(t *testing.T) {
	s, none := New(text), String{}
	assert.Equal(t, "[redacted]", fmt.Sprintf("%v", s))
	assert.Equal(t, "[redacted]", fmt.Sprintf("%s", s))
	assert.Equal(t, "[redacted]", fmt.Sprintf("%#v", s))
	assert.Equal(t, "[redacted]", s.String())
	assert.Equal(t, "", none.String())
	assert.Equal(t, "", fmt.Sprintf("%v", none))
	b, err := json.Marshal(map[string]String{"a": s, "b": none})
	assert.NoError(t, err)
	assert.Equal(t, `{"a":"[redacted]","b":""}`, string(b))
}

func TestReveal(t *testing.T) {
	assert.Equal(t, text, New(text).Reveal())
	assert.Equal(t, "", String{}.Reveal())
	assert.False(t, New(text).IsZero())
	assert.True(t, New("").IsZero())
	assert.True(t, String{}.IsZero())
	assert.True(t, New(text) == New(strings.Clone(text)), "equal by text")
	assert.False(t, New(text) == New(text+"x"))
	assert.True(t, New("") == String{})
}
