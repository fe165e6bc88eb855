package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
)

// base64Prefix marks a secret in base64; any other text is taken as it is, also
// when it looks like base64.
const base64Prefix = "base64:"

// strongSecret is the size of key that HS256 asks for, in bytes (RFC 7518 §3.2).
const strongSecret = 32

// redacted stands for a secret in every output.
const redacted = "[redacted]"

// LoadJWTSecrets returns the secrets that verify callers' tokens; the first
// signs development tokens. There are none only where public keys are
// configured instead. It reads the secret file anew each time. Errors name the
// setting, never a secret.
func LoadJWTSecrets(c *Config) ([][]byte, error) {
	if c.JWT.SecretFile == "" {
		if c.JWT.Secret.IsZero() && c.JWT.hasPublicKeys() {
			return nil, nil
		}
		secret, err := decodeSecret(c.JWT.Secret.Reveal())
		if err != nil {
			return nil, Refuse(keyJWTSecret, err.Error())
		}
		return [][]byte{secret}, nil
	}
	text, err := os.ReadFile(c.JWT.SecretFile)
	if err != nil {
		return nil, Refuse(keyJWTSecretFile, "the file cannot be read: "+cause(err)+"; want a file that this service's user can read, one secret a line")
	}
	var secrets [][]byte
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		secret, err := decodeSecret(line)
		if err != nil {
			return nil, Refuse(keyJWTSecretFile, fmt.Sprintf("line %d of the file: %v", i+1, err))
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, Refuse(keyJWTSecretFile, "the file holds no secret; want one secret a line")
	}
	return secrets, nil
}

var (
	errEmptySecret = errors.New("the secret is empty")
	errBase64      = errors.New("what follows base64: is not base64")
)

func decodeSecret(text string) ([]byte, error) {
	secret := []byte(text)
	if encoded, ok := strings.CutPrefix(text, base64Prefix); ok {
		var err error
		if secret, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "=")); err != nil {
			return nil, errBase64
		}
	}
	if len(secret) == 0 {
		return nil, errEmptySecret
	}
	return secret, nil
}

// SecretWarnings says what is unwise about secrets of LoadJWTSecrets.
func SecretWarnings(c *Config, secrets [][]byte) []string {
	var warnings []string
	for i, secret := range secrets {
		which := keyJWTSecret
		if c.JWT.SecretFile != "" {
			which = fmt.Sprintf("secret %d of %s", i+1, keyJWTSecretFile)
		}
		if len(secret) < strongSecret {
			warnings = append(warnings, fmt.Sprintf(
				"%s has fewer than %d bytes and can be guessed; make one with: openssl rand -base64 48", which, strongSecret))
		}
		if !c.Dev && string(secret) == DevSecret {
			warnings = append(warnings, which+" is the published development secret: anyone can sign tokens for this service")
		}
	}
	return warnings
}
