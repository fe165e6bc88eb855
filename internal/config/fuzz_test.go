package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad feeds any file, environment and secret: Load never panics, and no
// secret shows up in errors, warnings or printed settings. Each secret ends in
// a marker, so that a part of it is found too.
func FuzzLoad(f *testing.F) {
	const marker = "Q7xSecretMarkerZ9"
	for _, seed := range [][3]string{
		{"addr: 127.0.0.1:1\n", "", "30"},
		{"jwt:\n  secret: $\nevents: {token: $}\n", "", ""},
		{"jwt: {secret: $}\n", "*", "x"},
		{"jwt:\n  secret: $\n", "base64:", "-1"},
		{"jwt:\n  secret: '$'\nevents:\n  url: http://u:p@h\n", "!", "99999999999999999999"},
		{"static: {state: [1, {b: null}]}\n", "\"", "{}"},
		{"a: &a [*a]\n", "[", "unix:/"},
		{"socket:\n  mode: 0660\nlog:\n---\n...", "|\n ", "\xff"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, file, secret, text string) {
		if strings.Contains(file+text, marker) || strings.ContainsAny(secret, "\n\r\u0085\u2028\u2029") {
			return // a secret that is written as something else is none
		}
		secret += marker
		rewrite(t, path, strings.ReplaceAll(file, "$", secret))
		environ := []string{"BUS_VM_CONFIG=" + path, "BUS_VM_JWT_SECRET=" + secret, "BUS_API_TOKEN=" + secret}
		for _, s := range Settings() {
			if s.Env != "" && !s.Secret && s.Key != "config" {
				environ = append(environ, s.Env+"="+text)
			}
		}
		// Without the environment too, so that the file is what counts.
		for _, in := range []Input{{Environ: environ}, {Environ: environ[:1]}} {
			var out strings.Builder
			c, err := Load(in)
			if err != nil {
				out.WriteString(err.Error())
			} else {
				out.WriteString(strings.Join(c.Warnings, "\n"))
				out.WriteString(printed(t, c))
			}
			if secretPlaces(file) && strings.Contains(out.String(), marker) {
				t.Errorf("a secret was printed:\n%s", out.String())
			}
		}
	})
}

// secretPlaces reports whether every $ in file stands where a secret belongs;
// elsewhere its text is a value that errors may quote.
func secretPlaces(file string) bool {
	rest := strings.ReplaceAll(file, "jwt:\n  secret: $\n", "")
	rest = strings.ReplaceAll(rest, "jwt: {secret: $}\n", "")
	rest = strings.ReplaceAll(rest, "events: {token: $}\n", "")
	return !strings.Contains(rest, "$")
}
