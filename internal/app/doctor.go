package app

import (
	"context"
	"log/slog"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/server"
)

// Examine examines everything that serving with c would need, and the
// configuration of nginx in the file nginxConf, if there is one.
func Examine(ctx context.Context, c *config.Config, nginxConf string) (doctor.Report, error) {
	service := doctor.Service{Config: c, NginxConf: nginxConf, Listen: server.Listen}
	if c.NeedsEvents() {
		source, err := providerToken(c, slog.New(slog.DiscardHandler))
		if err != nil {
			return doctor.Report{}, config.Refuse("events.token", err.Error())
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
