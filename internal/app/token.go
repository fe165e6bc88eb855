package app

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/middleware"
)

// providerToken is where the gateway's own credential towards Events comes
// from, never a caller's.
func providerToken(c *config.Config, logger *slog.Logger) (events.TokenSource, error) {
	switch {
	case c.Events.TokenFile != "":
		return events.FileToken(c.Events.TokenFile, logger), nil
	case c.Events.TokenRefresh:
		return events.RereadToken(func() (secret.String, error) { // wherever the settings come from
			fresh, err := c.Reload()
			if err != nil {
				return secret.String{}, err
			}
			return fresh.Events.Token, nil
		}), nil
	}
	return events.StaticToken(c.Events.Token)
}

// doIssue is the remedy for a provider token that is not what it should be.
const doIssue = "issue a provider token for these scopes and set BUS_API_TOKEN or --token-file"

// inspect tells the operator before the Events API does what is wrong with the
// provider token, which may not be there yet. It only warns: the Events API has
// the last word.
func (a *app) inspect(token secret.String, err error) {
	need := events.ScopesFor(neededReplies(a.config)...)
	scopes := strings.Join(need, " ")
	if err != nil {
		a.logger.Warn("the provider token cannot be read yet", "cause", err, "do", doIssue, "scopes", scopes)
		return
	}
	expires, have, err := events.InspectToken(token, time.Now())
	switch {
	case errors.Is(err, events.ErrTokenExpired):
		a.logger.Error("the provider token has expired", "expired", expires, "do", doIssue, "scopes", scopes)
	case err != nil:
		a.logger.Info("the provider token cannot be inspected", "cause", err)
		return
	case !expires.IsZero() && time.Until(expires) < events.ExpirySoon:
		a.logger.Warn("the provider token expires soon", "expires", expires, "do", doIssue, "scopes", scopes)
	}
	if missing := events.MissingScopes(have, need); len(missing) > 0 {
		a.logger.Error("the provider token lacks scopes", "missing", strings.Join(missing, " "), "do", doIssue)
	}
}

// measureExpiry registers when the provider token expires, so that an alert
// comes before the Events API refuses it.
func (a *app) measureExpiry(source events.TokenSource) {
	a.metrics.NewGauge("bus_vm_events_token_expiry_timestamp_seconds", func() float64 {
		token, _ := source.Token()                              // zero when it cannot be read
		expires, _, _ := events.InspectToken(token, time.Now()) // zero when it cannot tell
		return float64(max(0, expires.Unix()))
	})
}

// authenticate builds the authenticator with the keys that the settings name.
// Keys from a URL come later, and /readyz waits for them.
func (a *app) authenticate() error {
	c := a.config.JWT
	var err error
	if a.secrets, err = a.config.JWTSecrets(); err != nil {
		return err
	}
	auth := middleware.AuthConfig{
		Audiences: c.Audiences,
		Secrets:   a.secrets,
		Leeway:    c.Leeway,
		Logger:    a.logger,
		Metrics:   a.metrics,
	}
	if c.JWKSFile != "" || c.JWKSURL != "" {
		auth.PublicKeys = &jwks.Set{}
		a.publicKeys = jwks.NewStore(jwks.StoreConfig{
			Use:     func(set *jwks.Set) error { return a.auth.SetPublicKeys(set) },
			Logger:  a.logger,
			Metrics: a.metrics,
		})
	}
	if c.JWKSURL != "" {
		a.remoteKeys, err = jwks.NewRemote(jwks.RemoteConfig{
			URL:     c.JWKSURL,
			Store:   a.publicKeys,
			Logger:  a.logger,
			Metrics: a.metrics,
		})
		if err != nil {
			return fmt.Errorf("--jwks-url: %w", err)
		}
		auth.UnknownKey = a.remoteKeys.Missed
		a.add(a.remoteKeys.Run)
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
	_, err = a.publicKeys.Put(set)
	return err
}
