package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/billing"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/outbox"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// connectEvents builds what the settings ask of Bus Events: one client for
// all, and the parts that talk through it.
func (a *App) connectEvents() error {
	c := a.config
	token, err := providerToken(c, a.logger)
	if err != nil {
		return err
	}
	client, err := events.New(events.Config{
		URL:       c.Events.URL,
		Token:     token,
		Replies:   neededReplies(c),
		Timeout:   c.Timeout,
		LateReply: c.Events.LateReply,
		Retry:     c.Events.ListenerRetry,
		RetryMin:  c.Events.ListenerRetryMin,
		RetryMax:  c.Events.ListenerRetryMax,
		Logger:    a.logger,
		Metrics:   a.metrics,
	})
	if err != nil {
		return err
	}
	a.plumbing.client = client
	a.inspectFirst(token, neededReplies(c))
	a.measureExpiry(token)
	a.plumbing.add(part{run: client.Run})
	if c.Events.ListenerRequired {
		a.plumbing.add(part{name: "reply streams", ready: a.listenersReady})
	}
	if c.Billing.Backend == config.Events {
		a.plumbing.entitlement = billing.NewChecker(client)
	}
	if c.Usage.Backend == config.Events {
		return a.openOutbox()
	}
	return nil
}

// openOutbox makes usage durable before it is delivered.
func (a *App) openOutbox() error {
	box, err := outbox.Open(outbox.Config{
		Dir:        a.config.DataDir,
		MaxRecords: a.config.Usage.MaxRecords,
		Sender:     usage.NewPublisher(a.plumbing.client),
		LateReply:  a.config.Events.LateReply,
		Logger:     a.logger,
		Metrics:    a.metrics,
	})
	if err != nil {
		return err
	}
	a.plumbing.outbox, a.plumbing.usage = box, box
	a.plumbing.add(part{name: "usage outbox", run: box.Run, ready: box.Healthy, close: box.Close})
	return nil
}

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

// listenerGrace is how long a reply stream may be away before /readyz says so:
// one reconnect must not flap it.
const listenerGrace = 5 * time.Second

// listenersReady names the reply streams that have been away too long.
func (a *App) listenersReady() error {
	if missing := a.plumbing.client.Missing(listenerGrace); len(missing) > 0 {
		return fmt.Errorf("reply streams not connected: %s", strings.Join(missing, ", "))
	}
	return nil
}
