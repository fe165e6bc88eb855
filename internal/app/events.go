package app

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/billing"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// connect returns the client of the Events API with the reply streams that the
// enabled backends need.
func (a *app) connect() (*events.Client, error) {
	c := a.config
	var err error
	if a.token, err = providerToken(c); err != nil {
		return nil, err
	}
	client, err := events.New(events.Config{
		URL: c.Events.URL, Token: a.token, Replies: neededReplies(c), Timeout: c.Timeout,
		Retry: c.Events.ListenerRetry, RetryMin: c.Events.ListenerRetryMin, RetryMax: c.Events.ListenerRetryMax,
		Logger: a.logger, Metrics: a.metrics,
	})
	if err != nil {
		return nil, err
	}
	if err := a.checkProviderToken(); err != nil {
		a.logger.Warn("the provider token cannot be read yet", "cause", err, "do", doIssue,
			"scopes", strings.Join(events.ScopesFor(neededReplies(c)...), " "))
	}
	// An alert comes before the Events API refuses it.
	a.metrics.NewGauge("bus_vm_events_token_expiry_timestamp_seconds", func() float64 {
		now, _ := a.token.Token()                                  // zero when it cannot be read
		expires, _, _ := events.InspectToken(now, nil, time.Now()) // zero when it cannot tell
		return float64(max(0, expires.Unix()))
	})
	a.add(client.Run)
	if !c.Events.ListenerRequired {
		a.checks = append(a.checks, admin.Check{Name: "readiness " + ignoresStreams, Ready: func() error { return nil }})
	}
	for _, reply := range neededReplies(c) {
		up := admin.Check{Name: "stream " + reply, Ready: func() error { return client.Ready(reply) }, Shown: !c.Events.ListenerRequired}
		a.checks = append(a.checks, up)
	}
	return client, nil
}

// ignoresStreams is what operators read of /readyz where Events does not count.
const ignoresStreams = "goes without reply streams (events.listener_required is off)"

// neededReplies are the reply streams of the enabled backends.
func neededReplies(c *config.Config) (names []string) {
	if c.Backend == config.Events {
		names = append(names, backend.EventsReplies()...)
	}
	if c.Billing.Backend == config.Events {
		names = append(names, billing.Reply)
	}
	if c.Usage.Backend == config.Events {
		names = append(names, usage.Reply)
	}
	return names
}

// providerToken is where the gateway's own credential towards Events comes
// from, never a caller's.
func providerToken(c *config.Config) (*events.TokenSource, error) {
	switch {
	case c.Events.TokenFile != "":
		return events.FileToken(c.Events.TokenFile), nil
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

// checkProviderToken reads the provider's token again, and tells the operator once what
// is wrong with it before the Events API does, which has the last word.
func (a *app) checkProviderToken() error {
	if a.token == nil {
		return nil
	}
	token, err := a.token.Reread()
	if err != nil || token == a.inspected {
		return err
	}
	a.inspected = token
	need := events.ScopesFor(neededReplies(a.config)...)
	_, level, finding := events.InspectToken(token, need, time.Now())
	line := []any{"finding", finding}
	if level > slog.LevelInfo {
		line = append(line, "do", doIssue, "scopes", strings.Join(need, " "))
	}
	a.logger.Log(context.Background(), level, "looked at the provider token", line...)
	return nil
}

// Examine examines everything that serving with c would need, and the
// configuration of nginx in the file nginxConf, if there is one.
func Examine(ctx context.Context, c *config.Config, nginxConf string) (doctor.Report, error) {
	warnOfLimit(c)
	service := doctor.Service{Config: c, NginxConf: nginxConf, Listen: server.Listen}
	if c.NeedsEvents() {
		source, err := providerToken(c)
		if err != nil {
			return doctor.Report{}, config.Refuse("events.token", "%w", err)
		}
		service.Token, service.Replies = source.Token, neededReplies(c)
	}
	if c.Backend == config.Events {
		service.AskStatus = func(ctx context.Context, client *events.Client) (string, error) {
			status, err := backend.AskStatus(ctx, client)
			return status.State, err
		}
	}
	return doctor.Examine(ctx, service), nil
}
