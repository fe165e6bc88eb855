package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
)

// Examine looks at everything that serving with c would need, and at the
// configuration of nginx in the file nginxConf, if there is one.
func Examine(ctx context.Context, c *config.Config, nginxConf string) (doctor.Report, error) {
	secrets, err := c.JWTSecrets()
	if err != nil {
		return doctor.Report{}, err
	}
	unwise := c.SecretWarnings(secrets)
	look := doctor.Config{
		Warnings:       slices.DeleteFunc(slices.Clone(c.Warnings), func(w string) bool { return slices.Contains(unwise, w) }),
		SecretWarnings: unwise,
		Secrets:        len(secrets),
		SecretFiles:    []string{c.JWT.SecretFile},
		JWKSURL:        c.JWT.JWKSURL,
		Addr:           c.Addr,
		Admin:          c.Admin.Addr,
		Socket:         doctor.Socket{Mode: c.Socket.Mode, Group: c.Socket.Group, GroupID: address.GroupID},
		MaxConnections: c.Server.MaxConnections,
	}
	if c.NeedsEvents() {
		look.SecretFiles = append(look.SecretFiles, c.Events.TokenFile)
		source, err := providerToken(c, slog.New(slog.DiscardHandler))
		if err != nil {
			return doctor.Report{}, config.Refuse("events.token", err.Error())
		}
		look.Events = &doctor.Events{URL: c.Events.URL, Token: source.Token, Replies: neededReplies(c)}
	}
	if c.Usage.Backend == config.Events {
		look.DataDir = c.DataDir
	}
	if nginxConf != "" {
		look.Nginx = &doctor.Nginx{
			Path:        nginxConf,
			HeaderBytes: c.Server.HeaderBytes,
			IdleTimeout: c.Server.IdleTimeout,
			WriteLimit:  writeLimit(c),
		}
	}
	return doctor.Examine(ctx, look), nil
}

// writeLimit is how long a start or stop may wait for others.
func writeLimit(c *config.Config) time.Duration {
	if c.Billing.Backend == config.Events {
		return 2 * c.Timeout // the entitlement, then the runtime
	}
	return c.Timeout
}
