package app

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// providerToken is where the gateway's own credential towards Events comes
// from, never a caller's.
func providerToken(c *config.Config, logger *slog.Logger) (events.TokenSource, error) {
	switch {
	case c.Events.TokenFile != "":
		return events.FileToken(c.Events.TokenFile, logger), nil
	case c.Events.TokenRefresh:
		return events.RereadToken(func() (secret.String, error) { return rereadToken(c) }), nil
	}
	return events.StaticToken(c.Events.Token)
}

// rereadToken looks again wherever the settings come from.
func rereadToken(c *config.Config) (secret.String, error) {
	fresh, err := c.Reload()
	if err != nil {
		return secret.String{}, err
	}
	return fresh.Events.Token, nil
}

// doIssue is the remedy for a provider token that is not what it should be.
const doIssue = "issue a provider token for these scopes and set BUS_API_TOKEN or --token-file"

// inspectFirst inspects the provider token at start, when it may not be there.
func (a *App) inspectFirst(source events.TokenSource, replies []string) {
	token, err := source.Token()
	if err != nil {
		a.logger.Warn("the provider token cannot be read yet", "cause", err,
			"scopes", strings.Join(events.ScopesFor(replies...), " "), "do", doIssue)
		return
	}
	a.inspect(token, replies)
}

// inspect tells the operator before the Events API does what is wrong with the
// provider token. It only warns: the Events API has the last word.
func (a *App) inspect(token secret.String, replies []string) {
	need := events.ScopesFor(replies...)
	expires, have, err := events.InspectToken(token, time.Now())
	switch {
	case errors.Is(err, events.ErrTokenExpired):
		a.logger.Error("the provider token has expired", "expired", expires, "do", doIssue, "scopes", strings.Join(need, " "))
	case err != nil:
		a.logger.Info("the provider token cannot be inspected", "cause", err)
		return
	case !expires.IsZero() && time.Until(expires) < events.ExpirySoon:
		a.logger.Warn("the provider token expires soon", "expires", expires, "do", doIssue, "scopes", strings.Join(need, " "))
	}
	if missing := events.MissingScopes(have, need); len(missing) > 0 {
		a.logger.Error("the provider token lacks scopes", "missing", strings.Join(missing, " "), "do", doIssue)
	}
}

// measureExpiry registers when the provider token expires, so that an alert
// comes before the Events API refuses it.
func (a *App) measureExpiry(source events.TokenSource) {
	a.metrics.NewGauge("bus_vm_events_token_expiry_timestamp_seconds", func() float64 {
		token, err := source.Token()
		if err != nil {
			return 0
		}
		expires, _, _ := events.InspectToken(token, time.Now()) // zero when it cannot tell
		if expires.IsZero() {
			return 0
		}
		return float64(expires.Unix())
	})
}
