package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// Load reads and checks all settings. Its error is an *Error with everything
// that is wrong.
func Load(in Input) (*Config, error) {
	c, complete := parse(in)
	if complete {
		c.check()
		c.warn()
	}
	return c, c.origin.found.OrNil()
}

// LoadJWT reads the settings that signing a token takes and ignores what may be
// wrong with the others.
func LoadJWT(in Input) (*Config, error) {
	c, complete := parse(in)
	found := c.origin.found
	found.Problems = slices.DeleteFunc(found.Problems, func(p Problem) bool {
		known, typed := setting(p.Key).Key != "", slices.Contains(in.Wrong.Problems, p)
		return known && !typed && !ForJWT(p.Key)
	})
	if complete {
		c.checkSecrets("sign a token with", "")
	}
	return c, found.OrNil()
}

// LoadUsage is Load for a command that looks at the store alone: it ignores what may be
// wrong with the settings that verify tokens.
func LoadUsage(in Input) (*Config, error) {
	c, _ := Load(in)
	found := c.origin.found
	found.Problems = slices.DeleteFunc(found.Problems, func(p Problem) bool {
		return strings.HasPrefix(p.Key, "jwt.") && !slices.Contains(in.Wrong.Problems, p)
	})
	return c, found.OrNil()
}

// ForJWT reports the settings that LoadJWT obeys.
func ForJWT(key string) bool {
	return slices.Contains([]string{"config", "dev", "jwt.secret", "jwt.secret_file", "jwt.audiences"}, key)
}

// Reload reads everything again with the flags and the environment of the first
// Load. On an error c stays what it was.
func (c *Config) Reload() (*Config, error) { return Load(c.origin.input) }

// NeedRestart lists the keys of the settings that differ in next and that a
// running service does not follow.
func (c *Config) NeedRestart(next *Config) (keys []string) {
	for _, s := range Settings() {
		followed := s.Reload == "file" || s.Reload == "both" || s.Reload == "refused" && c.Events.TokenRefresh
		if !followed && c.origin.at(s.Key).Text != next.origin.at(s.Key).Text {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// JWTSecrets returns the secrets that verify callers' tokens; the first signs
// development tokens. There are none only where public keys are configured
// instead. The secret file is read each time. Errors name the setting, never a
// secret.
func (c *Config) JWTSecrets() (secrets [][]byte, err error) {
	key := "jwt.secret"
	switch {
	case c.JWT.SecretFile != "":
		key = "jwt.secret_file"
		secrets, err = token.ReadSecrets(c.JWT.SecretFile)
	case !c.JWT.Secret.IsZero() || !c.hasPublicKeys():
		secrets = make([][]byte, 1)
		secrets[0], err = token.ParseSecret(c.JWT.Secret.Reveal())
	}
	if err != nil {
		return nil, Refuse(key, "%w", err)
	}
	return secrets, nil
}

// SecretWarnings says what is unwise about secrets of JWTSecrets.
func (c *Config) SecretWarnings(secrets [][]byte) (warnings []string) {
	for i, secret := range secrets {
		which := "jwt.secret"
		if c.JWT.SecretFile != "" {
			which = fmt.Sprintf("secret %d of %s", i+1, "jwt.secret_file")
		}
		if len(secret) < 32 { // RFC 7518 §3.2
			warnings = append(warnings, which+" has fewer than 32 bytes and can be guessed; make one with: openssl rand -base64 48")
		}
		if !c.Dev && string(secret) == DevSecret {
			warnings = append(warnings, which+" is the published development secret: anyone can sign tokens for this service")
		}
		warnings = append(warnings, oddText(which, string(secret))...)
	}
	return warnings
}

// oddText says what in a secret is likely to be the work of a shell, a file of
// variables or an editor. It counts all the same: raw text is taken as it is.
func oddText(which, text string) []string {
	odd := ""
	switch last := len(text) - 1; {
	case !utf8.ValidString(text): // from base64
	case strings.Contains(text, `\n`), strings.Contains(text, `\r`):
		odd = `has an escape in it (\n or \r), which is two characters of it and no end of a line`
	case strings.TrimSpace(text) != text:
		odd = "begins or ends with white space, such as a line feed, which is part of it"
	case last > 0 && text[0] == text[last] && strings.ContainsAny(text[:1], "\"'`"):
		odd = "is in quotes, which are part of it"
	}
	if odd == "" {
		return nil
	}
	return []string{which + " " + odd + "; take it out, unless the other side has it too"}
}

// Print writes the effective settings as a YAML file in alphabetical order, each
// with a comment that says where its value came from. Secrets are redacted.
func (c *Config) Print(w io.Writer) error {
	file := c.origin.merged.Raw()
	for _, s := range Settings() {
		if s.NotInFile {
			e := c.origin.at(s.Key)
			fmt.Fprintf(w, "# %s: %q (%s)\n", s.Flag, e.Text, e.Place)
			delete(file, s.Key)
		}
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	return encoder.Encode(file)
}

// MarshalYAML shows an entry with its place.
func (e entry) MarshalYAML() (any, error) {
	value, s := &yaml.Node{Kind: yaml.ScalarNode, Value: e.Text, LineComment: e.Place}, setting(e.Key)
	if s.Secret && e.Text != "" {
		value.Value = secret.Redacted
	}
	if !s.kind.plain {
		value.Tag = "!!str" // quoted where it would be read as something else
	}
	return value, nil
}
