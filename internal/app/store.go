package app

import (
	"context"
	"errors"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// openStore opens the store of operations: PostgreSQL or the data directory where
// records must last, memory otherwise. Their replies come from client, nil for
// none, whose history it reads when it may hold one that was missed.
func (a *app) openStore(ctx context.Context, client *events.Client) (*store.Store, error) {
	c := a.config
	address, err := c.StoreURL()
	if err != nil {
		return nil, err
	}
	settings := store.Config{
		URL: address.Reveal(), Keep: c.Store.Keep, Timeout: c.Timeout, LateReply: c.Events.LateReply,
		Logger: a.logger, Metrics: a.metrics,
	}
	switch c.Usage.Backend {
	case config.Memory:
		settings.Records = store.KeepRecords
	case config.Events:
		settings.Records = store.DeliverRecords
		settings.Dir = c.DataDir
	}
	if c.Backend == config.Events {
		settings.History = func(ctx context.Context) (err error) {
			for _, reply := range backend.WriteReplies() {
				err = errors.Join(err, client.ReadHistory(ctx, reply))
			}
			return err
		}
	}
	operations, err := store.Open(ctx, settings)
	if err != nil {
		return nil, err
	}
	a.last = append(a.last, operations.Run)
	a.mayHang(operations.Left)
	a.require("operations store", func() error {
		if operations.Healthy() != nil { // which names hosts and paths, and /readyz asks for no token
			return errStoreDown
		}
		return nil
	})
	if c.Backend == config.Events {
		for _, reply := range backend.WriteReplies() {
			client.WantHistory(reply, operations.WantsHistory)
		}
	}
	if c.Usage.Backend == config.Events {
		publisher := usage.Publisher{Client: client}
		publisher.Acknowledged(operations.Acknowledged)
		a.add(func(ctx context.Context) error { return operations.Deliver(ctx, publisher) })
	}
	return operations, nil
}

var errStoreDown = errors.New("the operations store does not take writes; the log says why")
