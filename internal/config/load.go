package config

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/internal/token"
)

// redacted stands for a secret in every output.
const redacted = "[redacted]"

// Load reads and checks all settings. Its error is an *Error with everything
// that is wrong.
func Load(in Input) (*Config, error) {
	c, found, complete := parse(in, func(string) bool { return true })
	if complete {
		c.check(found)
		c.warn()
	}
	return c, found.orNil()
}

// LoadJWT reads the settings that signing a token takes and ignores what may be
// wrong with the others. Everything else in the Config is at its default.
func LoadJWT(in Input) (*Config, error) {
	c, found, complete := parse(in, ForJWT)
	if complete {
		c.checkSecrets(found, "sign a token with", "")
	}
	return c, found.orNil()
}

// ForJWT reports the settings that LoadJWT obeys.
func ForJWT(key string) bool {
	return slices.Contains([]string{keyConfig, keyDev, keyJWTSecret, keyJWTSecretFile, keyAudiences}, key)
}

// Reload reads everything again with the flags and the environment of the first
// Load. On an error c stays what it was.
func (c *Config) Reload() (*Config, error) { return Load(c.origin.input) }

// NeedRestart lists the keys of the settings that differ in next and that a
// running service does not follow.
func (c *Config) NeedRestart(next *Config) (keys []string) {
	for _, s := range table() {
		followed := s.followed || s.Key == keyEventsToken && c.Events.TokenRefresh
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
	if c.JWT.SecretFile != "" {
		if secrets, err = token.ReadSecrets(c.JWT.SecretFile); err != nil {
			return nil, Refuse(keyJWTSecretFile, err.Error())
		}
		return secrets, nil
	}
	if c.JWT.Secret.IsZero() && c.hasPublicKeys() {
		return nil, nil
	}
	secret, err := token.ParseSecret(c.JWT.Secret.Reveal())
	if err != nil {
		return nil, Refuse(keyJWTSecret, err.Error())
	}
	return [][]byte{secret}, nil
}

// SecretWarnings says what is unwise about secrets of JWTSecrets.
func (c *Config) SecretWarnings(secrets [][]byte) (warnings []string) {
	for i, secret := range secrets {
		which := keyJWTSecret
		if c.JWT.SecretFile != "" {
			which = fmt.Sprintf("secret %d of %s", i+1, keyJWTSecretFile)
		}
		if len(secret) < 32 { // RFC 7518 §3.2
			warnings = append(warnings, which+" has fewer than 32 bytes and can be guessed; make one with: openssl rand -base64 48")
		}
		if !c.Dev && string(secret) == DevSecret {
			warnings = append(warnings, which+" is the published development secret: anyone can sign tokens for this service")
		}
	}
	return warnings
}

// Print writes the effective settings as a YAML file of settings, each with a
// comment that says where its value came from. Secrets are redacted.
func (c *Config) Print(w io.Writer) error {
	var b strings.Builder
	section := ""
	for _, s := range table() {
		e := c.origin.at(s.Key)
		if s.NotInFile {
			fmt.Fprintf(&b, "# --%s: %q (%s)\n", s.Flag, e.Text, e.Place)
			continue
		}
		if s.Secret && e.Text != "" {
			e.Text = redacted
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Value: e.Text, LineComment: e.Place}
		if !s.unquoted {
			value.Tag = "!!str" // quoted where it would be read as something else
		}
		name, last, below := strings.Cut(s.Key, ".")
		if below && name != section {
			section = name
			fmt.Fprintf(&b, "%s:\n", section)
		}
		indent := ""
		if below {
			name, indent = last, "  "
		}
		line, err := yaml.Marshal(map[string]*yaml.Node{name: value})
		if err != nil {
			return err
		}
		b.WriteString(indent + strings.ReplaceAll(strings.TrimSuffix(string(line), "\n"), "\n", "\n"+indent) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
