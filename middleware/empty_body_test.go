package middleware

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEmptyBody(t *testing.T) {
	handler := chainOf(slog.New(slog.DiscardHandler), EmptyBody())
	refusal := refused("400 Bad Request", "", "bad_request",
		"This request takes no parameters: send no body, or an empty JSON object.")
	for body, want := range map[string]string{
		"":                                     passed,
		" ":                                    passed,
		" \t\r\n":                              passed,
		"{}":                                   passed,
		" {\r\n\t} ":                           passed,
		strings.Repeat("\n", 60000):            passed,
		"{" + strings.Repeat(" ", 60000) + "}": passed,
		"{":                                    refusal,
		"}":                                    refusal,
		"}{":                                   refusal,
		"{{}}":                                 refusal,
		"{}{}":                                 refusal,
		"{} {}":                                refusal,
		"{},":                                  refusal,
		"{,}":                                  refusal,
		`{"":0}`:                               refusal,
		`{"size":8}`:                           refusal,
		"[]":                                   refusal,
		"[{}]":                                 refusal,
		"null":                                 refusal,
		"false":                                refusal,
		"0":                                    refusal,
		`""`:                                   refusal,
		"{}#":                                  refusal,
		"{/**/}":                               refusal,
		"\x00":                                 refusal,
		"{\x00}":                               refusal,
		"\v":                                   refusal,
		"\f{}":                                 refusal,
		"\u00a0":                               refusal,
		"{\u2003}":                             refusal,
		"\ufeff{}":                             refusal,
		"{\xff}":                               refusal,
		"size=8":                               refusal,
		"---\n":                                refusal,
		"\x1f\x8b\x08":                         refusal,
	} {
		assert.Equal(t, want, ask(t, handler, "", body), "%.40q", body)
	}
}

// The body is judged as it came, whatever its type or encoding claim to be.
func TestEmptyBodyIgnoresItsHeaders(t *testing.T) {
	handler := chainOf(slog.New(slog.DiscardHandler), EmptyBody())
	for _, headers := range []string{
		"Content-Type: text/plain\r\n",
		"Content-Encoding: gzip\r\n",
		"Content-Encoding: br\r\nContent-Type: application/x-www-form-urlencoded\r\n",
	} {
		assert.Equal(t, passed, ask(t, handler, headers, "{}"), headers)
		assert.NotEqual(t, passed, ask(t, handler, headers, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"), headers)
	}
}

// FuzzEmptyBody holds isEmptyBody to encoding/json's reading of the same rule.
func FuzzEmptyBody(f *testing.F) {
	for _, seed := range []string{"", " ", "{}", "{ }", "{}{}", "[]", "null", `{"a":1}`, "\ufeff{}", "{\v}", "\u00a0"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, want := isEmptyBody(body), emptyByDecoder(body); got != want {
			t.Errorf("isEmptyBody(%q) = %t, a JSON decoder says %t", body, got, want)
		}
	})
}

func emptyByDecoder(body []byte) bool {
	blank := true
	for _, c := range body {
		blank = blank && (c == ' ' || c == '\t' || c == '\r' || c == '\n')
	}
	if blank {
		return true
	}
	var members map[string]json.RawMessage
	return json.Unmarshal(body, &members) == nil && members != nil && len(members) == 0
}
