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
	return c, found.err()
}

// LoadJWT reads the settings that signing a token takes and ignores what may be
// wrong with the others. Everything else in the Config is at its default.
func LoadJWT(in Input) (*Config, error) {
	c, found, complete := parse(in, ForJWT)
	if complete {
		c.checkSecrets(found, "sign a token with", "")
	}
	return c, found.err()
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

// strongSecret is the size of key that HS256 asks for, in bytes (RFC 7518 §3.2).
const strongSecret = 32

// SecretWarnings says what is unwise about secrets of JWTSecrets.
func (c *Config) SecretWarnings(secrets [][]byte) (warnings []string) {
	for i, secret := range secrets {
		which := keyJWTSecret
		if c.JWT.SecretFile != "" {
			which = fmt.Sprintf("secret %d of %s", i+1, keyJWTSecretFile)
		}
		if len(secret) < strongSecret {
			warnings = append(warnings, fmt.Sprintf("%s has fewer than %d bytes and can be guessed; make one with: openssl rand -base64 48", which, strongSecret))
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
	root, sections := &yaml.Node{Kind: yaml.MappingNode}, map[string]*yaml.Node{}
	name := func(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }
	var head []string
	for _, s := range table() {
		e := c.origin.at(s.Key)
		if s.NotInFile {
			head = append(head, fmt.Sprintf("--%s: %q (%s)", s.Flag, e.Text, e.Place))
			continue
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Value: e.Text, LineComment: e.Place}
		if s.Secret && e.Text != "" {
			value.Value = redacted
		}
		if !s.unquoted {
			value.Tag = "!!str" // quoted where it would be read as something else
		}
		parent, key := root, s.Key
		if section, last, below := strings.Cut(s.Key, "."); below {
			if sections[section] == nil {
				sections[section] = &yaml.Node{Kind: yaml.MappingNode}
				root.Content = append(root.Content, name(section), sections[section])
			}
			parent, key = sections[section], last
		}
		parent.Content = append(parent.Content, name(key), value)
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}, HeadComment: strings.Join(head, "\n")}); err != nil {
		return err
	}
	return encoder.Close()
}
