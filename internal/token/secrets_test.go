package token

import (
	"errors"
	"testing"
)

func TestSecretTexts(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "cGxhaW4=": "cGxhaW4=", " spaced ": " spaced ",
		"base64:cGxhaW4=": "plain", "base64:cGxhaW4": "plain", "base64:+/+/": "\xfb\xff\xbf",
	} {
		if got, err := ParseSecret(text); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"": errEmptySecret, "base64:": errEmptySecret, "base64:====": errEmptySecret,
		"base64:-_-_": errNotBase64, "base64:a": errNotBase64, "base64:hunter2!": errNotBase64,
	} {
		if got, err := ParseSecret(text); !errors.Is(err, want) {
			t.Errorf("%q: got %q, %v, want %v", text, got, err, want)
		}
	}
}
