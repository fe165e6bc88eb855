package middleware

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// FuzzEmptyBody knows which bodies are empty.
func TestEmptyBody(t *testing.T) {
	handler := chainOf(silent, EmptyBody())
	refusal := refused("400 Bad Request", "", "bad_request",
		"This request takes no parameters: send no body, or an empty JSON object.")
	for body, want := range map[string]string{
		"": passed, "{" + strings.Repeat(" ", 60000) + "}": passed, `{"size":8}`: refusal, "size=8": refusal, "\x1f\x8b\x08": refusal,
	} {
		// The body is judged as it came, whatever its type or encoding claim to be.
		for _, headers := range []string{"", "Content-Type: text/plain\r\n", "Content-Encoding: gzip\r\n", "Content-Encoding: br\r\nContent-Type: application/x-www-form-urlencoded\r\n"} {
			assert.Equal(t, want, ask(t, handler, headers, body), "%s%.40q", headers, body)
		}
	}
}

// FuzzEmptyBody holds isEmptyBody to encoding/json's reading of the same rule.
func FuzzEmptyBody(f *testing.F) {
	for _, seed := range []string{
		"", " ", " \t\r\n", "{}", "{ }", " {\r\n\t} ", "{", "}", "}{", "{{}}", "{}{}", "{} {}", "{},", "{,}", `{"":0}`, `{"a":1}`, "[]", "[{}]",
		"null", "false", "0", `""`, "{}#", "{/**/}", "\x00", "{\x00}", "\v", "{\v}", "\f{}", "\u00a0", "{\u2003}", "\ufeff{}", "{\xff}", "---\n",
	} {
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
