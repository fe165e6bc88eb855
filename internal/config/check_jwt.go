package config

import (
	"errors"

	"github.com/busdk/bus-api-provider-vm/internal/jwks"
)

// checkJWT refuses to start with nothing to verify tokens with, with two places
// for one thing, or with a file that cannot be used.
func (c *Config) checkJWT(found *problems) {
	c.checkSecrets(found, "verify tokens with", ", or --jwks-file or --jwks-url for public keys")
	c.checkJWKS(found)
}

// checkSecrets says, where there is no secret, what for it is needed, and what
// would do instead.
func (c *Config) checkSecrets(found *problems, purpose, instead string) {
	v := c.origin.values
	plain, file := v.given(keyJWTSecret), v.given(keyJWTSecretFile)
	switch {
	case plain && file:
		found.add(keyJWTSecretFile, v.source(keyJWTSecretFile).name, "want either this or %s (%s), not both",
			keyJWTSecret, v.source(keyJWTSecret))
		return
	case !plain && !file && !c.JWT.hasPublicKeys():
		found.add(keyJWTSecret, "", "no secret to %s; set BUS_VM_JWT_SECRET, or --jwt-secret-file or BUS_VM_JWT_SECRET_FILE%s; for local checks use --dev", purpose, instead)
		return
	}
	secrets, err := LoadJWTSecrets(c)
	var e *Error
	if errors.As(err, &e) {
		for _, p := range e.Problems {
			found.add(p.Key, v.source(p.Key).name, "%s", p.Text)
		}
	}
	c.Warnings = append(c.Warnings, SecretWarnings(c, secrets)...)
}

// checkJWKS reads a file of public keys, and looks at a URL without asking it.
func (c *Config) checkJWKS(found *problems) {
	file, url := c.origin.values.source(keyJWKSFile), c.origin.values.source(keyJWKSURL)
	if c.JWT.JWKSFile != "" && c.JWT.JWKSURL != "" {
		found.add(keyJWKSURL, url.name, "want either this or %s (%s), not both", keyJWKSFile, file)
	}
	if c.JWT.JWKSFile != "" {
		if _, err := jwks.ReadFile(c.JWT.JWKSFile); err != nil {
			found.add(keyJWKSFile, file.name, "no public keys in the file: %v", err)
		}
	}
	if c.JWT.JWKSURL != "" {
		if err := jwks.CheckURL(c.JWT.JWKSURL); err != nil {
			found.add(keyJWKSURL, url.name, "is not accepted; %v", err)
		}
	}
}

// hasPublicKeys reports whether tokens may be signed with a private key.
func (c JWTConfig) hasPublicKeys() bool { return c.JWKSFile != "" || c.JWKSURL != "" }
