package app

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// authenticate builds the authenticator with the keys that the settings name.
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
		a.checks = append(a.checks, admin.Check{Name: "public keys", Ready: a.publicKeys.Ready})
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
		return config.Refuse("jwt.jwks_file", "no public keys in the file: %w", err)
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

const devTokenTTL = 12 * time.Hour // of the greeting

// greet prints what one needs to try the API at once: a token and the calls.
func (a *app) greet(w io.Writer, addr net.Addr) error {
	jwt, err := token.Mint(a.secrets[0], token.Claims{
		Subject:  token.DevSubject,
		Audience: a.config.JWT.Audiences[0],
		Scope:    middleware.ScopeRead + " " + middleware.ScopeWrite,
		TTL:      devTokenTTL,
	}, time.Now())
	if err != nil {
		return fmt.Errorf("mint a development token: %w", err)
	}
	curl, base := "curl -sS", "http://"+addr.String()
	if addr.Network() == "unix" {
		curl, base = "curl -sS --unix-socket "+addr.String(), "http://localhost"
	}
	_, err = fmt.Fprintf(w, `Development mode: static backend, published secret, this machine only.
Ctrl-C ends it. Try, in another terminal:

TOKEN=%s

%[2]s -H "Authorization: Bearer $TOKEN" %[3]s%[4]s
%[2]s -H "Authorization: Bearer $TOKEN" -X POST %[3]s%[5]s
%[2]s -H "Authorization: Bearer $TOKEN" -X POST %[3]s%[6]s

`, jwt, curl, base, routes.StatusPath, routes.StartPath, routes.StopPath)
	return err
}
