package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
)

// What is wrong with a secret. The errors of this file never hold one.
var (
	errEmptySecret = errors.New("the secret is empty")
	errNoSecret    = errors.New("the file holds no secret; want one secret a line")
	errNotBase64   = errors.New("what follows base64: is not base64")
)

// ParseSecret returns text as it is, also when it looks like base64, and
// decodes what follows `base64:`.
func ParseSecret(text string) ([]byte, error) {
	secret := []byte(text)
	if encoded, ok := strings.CutPrefix(text, "base64:"); ok {
		var err error
		if secret, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "=")); err != nil {
			return nil, errNotBase64
		}
	}
	if len(secret) == 0 {
		return nil, errEmptySecret
	}
	return secret, nil
}

// ReadSecrets reads a file of secrets, one a line; blank lines and comments
// that begin with # do not count. There is at least one.
func ReadSecrets(path string) (secrets [][]byte, err error) {
	text, err := os.ReadFile(path)
	var failed *os.PathError
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("the file cannot be read: %w; want a file that this service's user can read, one secret a line", failed.Err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		secret, err := ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the file: %w", i+1, err)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, errNoSecret
	}
	return secrets, nil
}
