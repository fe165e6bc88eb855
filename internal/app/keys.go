package app

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// authenticate builds the authenticator with the keys that the settings name.
// Keys from a URL come later, and /readyz waits for them.
func (a *app) authenticate() error {
	c := a.config.JWT
	var err error
	if a.secrets, err = a.config.JWTSecrets(); err != nil {
		return err
	}
	auth := middleware.AuthConfig{Audiences: c.Audiences, Secrets: a.secrets, Leeway: c.Leeway, Logger: a.logger, Metrics: a.metrics}
	if c.JWKSFile != "" || c.JWKSURL != "" {
		auth.PublicKeys = &jwks.Set{}
		use := func(set *jwks.Set) { _ = a.auth.SetPublicKeys(set) } // it refuses nil alone
		a.publicKeys = jwks.New(c.JWKSURL, use, a.logger, a.metrics)
	}
	if c.JWKSURL != "" {
		auth.UnknownKey = a.publicKeys.Missed
		a.add(a.publicKeys.Run)
		a.require("public keys", a.publicKeys.Ready)
	}
	a.auth, err = middleware.NewAuthenticator(auth)
	if err != nil {
		return fmt.Errorf("token verification: %w", err)
	}
	return a.loadPublicKeys()
}

// loadPublicKeys puts the file of public keys in force, if there is one.
func (a *app) loadPublicKeys() error {
	if a.config.JWT.JWKSFile == "" {
		return nil
	}
	set, err := jwks.ReadFile(a.config.JWT.JWKSFile)
	if err != nil {
		return config.Refuse("jwt.jwks_file", "no public keys in the file: "+err.Error())
	}
	a.publicKeys.Put(set)
	return nil
}

// rollSecrets replaces the secrets if they are others than before: replacing
// them forgets every verified token.
func (a *app) rollSecrets() error {
	secrets, err := a.latest.JWTSecrets()
	if err != nil || slices.EqualFunc(secrets, a.secrets, bytes.Equal) {
		return err
	}
	if err := a.auth.SetSecrets(secrets); err != nil {
		return err
	}
	a.secrets = secrets
	a.logger.Info("JWT secrets in force", "secrets", len(secrets))
	return nil
}
