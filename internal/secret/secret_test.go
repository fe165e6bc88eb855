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

// Credentials in foreign text go, the words around them stay.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"Basic dXNlcjpwYXNz":                       "[redacted]",
		"got basic dXNlcjpwYXNz, sorry":            "got [redacted], sorry",
		"Authorization: Basic canary":              "Authorization: [redacted]",
		`{"Authorization":"Bearer canary","a":1}`:  `{"Authorization":[redacted],"a":1}`,
		"postgres://user:secret@host/db refused":   "postgres://[redacted]@host/db refused",
		"redis://:p@ss/w@[::1]:1":                  "redis://[redacted]@[::1]:1",
		"password=hunter2 user=a":                  "password=[redacted] user=a",
		"DB_PASSWORD: hunter":                      "DB_PASSWORD: [redacted]",
		`{"password":"a b\"c","n":1}`:              `{"password":[redacted],"n":1}`,
		`{\"password\":\"hunter2\"}`:               `{\"password\":[redacted]}`,
		"passwd='a b' x":                           "passwd=[redacted] x",
		"Server=a;Pwd=hunter2;Port=1":              "Server=a;Pwd=[redacted];Port=1",
		"X-Api-Key: abc, X-Bus-API-Key: def.":      "X-Api-Key: [redacted], X-Bus-API-Key: [redacted].",
		"api_key=abc&secretKey=def AccountKey=x==": "api_key=[redacted]&secretKey=[redacted] AccountKey=[redacted]",
		"?access_token=abc&client_secret=def#x":    "?access_token=[redacted]&client_secret=[redacted]",
		"Set-Cookie: sid=1; Path=/":                "Set-Cookie: [redacted]; Path=/",
		"token: 9f2c":                              "token: [redacted]",
		"Bearer canary and bearer abc.def":         "[redacted] and [redacted]",
		"-----BEGIN RSA PRIVATE KEY----- MIIE -----END RSA PRIVATE KEY----- x": "[redacted] x",
		"-----BEGIN PRIVATE KEY----- MIIE":                                     "[redacted]",
	} {
		assert.Equal(t, want, Redact(in), in)
		assert.Equal(t, want, Redact(want), "once more")
	}
	for _, plain := range []string{
		"A valid bearer token is required.", "Bearer token expired", "use Bearer authentication", "the basic plan", "Basic authentication is off",
		"invalid token: expired", "secret: not found", "a primary key: id", "https://host:8081/path", "no password given", "the token is 5 days old",
		"authorization: denied", "mail a@b.example", "basic functionality",
	} {
		assert.Equal(t, plain, Redact(plain))
	}
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"password=a", "Bearer x", "a://b:c@d", `"token":"x"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(Redact(text+" password=hunter2"), "hunter2") {
			t.Errorf("%q keeps what follows", text)
		}
	})
}
