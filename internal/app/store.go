package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/feed"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// openStore opens the store of operations: PostgreSQL or the data directory where
// records must last, memory otherwise. Their replies come from client, nil for
// none, whose history it reads when it may hold one that was missed. Changed is
// store.Config.Changed.
func (a *app) openStore(ctx context.Context, client *events.Client, changed func(r lifecycle.Receipt, elsewhere bool)) (*store.Store, error) {
	c := a.config
	settings, err := storeConfig(c, a.logger, a.metrics)
	if err != nil {
		return nil, err
	}
	settings.Changed = changed
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
	a.last = operations.Run
	a.add(operations.EndWaits)
	a.checks = append(a.checks, admin.Check{Name: "operations store", Ready: func() error {
		if operations.Healthy() != nil { // which names hosts and paths, and /readyz asks for no token
			return errors.New("the operations store does not take writes; the log says why")
		}
		return nil
	}})
	if c.Backend == config.Events {
		for _, reply := range backend.WriteReplies() {
			client.WantHistory(reply, operations.WantsHistory)
		}
	}
	if c.Usage.Backend == config.Events {
		publisher := usage.Publisher{Client: client}
		publisher.Acknowledged(operations.Acknowledged)
		a.add(func(ctx context.Context) error { return operations.Deliver(ctx, publisher.Send) })
	}
	return operations, nil
}

// storeConfig says where the store is, and what it holds.
func storeConfig(c *config.Config, logger *slog.Logger, set *metrics.Set) (store.Config, error) {
	address, err := c.StoreURL()
	settings := store.Config{
		URL: address.Reveal(), Keep: c.Store.Keep, Timeout: c.Timeout, LateReply: c.Events.LateReply, Logger: logger, Metrics: set,
	}
	switch c.Usage.Backend {
	case config.Memory:
		settings.Records = store.KeepRecords
	case config.Events:
		settings.Records = store.DeliverRecords
		settings.Dir = c.DataDir
	}
	return settings, err
}

// recentAge is how far back the operations reach that an account is sent after a gap,
// latestLimit is how many operators are.
const recentAge, latestLimit = time.Hour, 100

// recent is feed.Config.Recent.
func recent(operations *store.Store) func(context.Context, feed.Reader) ([]feed.Operation, error) {
	return func(ctx context.Context, r feed.Reader) (recent []feed.Operation, err error) {
		var list []lifecycle.Receipt
		if r.All {
			list, err = operations.Latest(ctx, latestLimit)
		} else {
			list, err = operations.Recent(ctx, r.Account, recentAge)
		}
		for _, op := range slices.Backward(list) {
			recent = append(recent, shown(operations, op))
		}
		return recent, err
	}
}

// shown is an operation as streams show it.
func shown(operations *store.Store, r lifecycle.Receipt) feed.Operation {
	document, _ := routes.RenderOperation(r, operations.Estimate(r)) // there is nothing in it that JSON cannot show
	return feed.Operation{ID: r.ID, Account: r.Account, Stage: r.Stage(), Document: document}
}

const (
	usagePath    = "/usage/"        // of the admin listener, then the command, for POST
	usageTimeout = 30 * time.Second // bounds a command
)

// endpoints are what operators may see of the store, and do with parked usage
// records.
func endpoints(operations *store.Store, logger *slog.Logger) map[string]admin.Endpoint {
	return map[string]admin.Endpoint{
		"GET /debug/store": func(ctx context.Context, _ string) (any, error) { return operations.Report(ctx) },
		"GET /debug/usage": func(ctx context.Context, _ string) (any, error) {
			records, err := operations.LatestRecords(ctx)
			return map[string]any{"records": records}, err
		},
		"POST " + usagePath + "list": func(ctx context.Context, _ string) (any, error) {
			parked, err := operations.Parked(ctx, store.MaxListed)
			return map[string]any{"parked": parked}, err
		},
		"POST " + usagePath + "retry": func(ctx context.Context, _ string) (any, error) {
			n, err := operations.Retry(ctx)
			return map[string]any{"retried": n}, err
		},
		"POST " + usagePath + "drop": func(ctx context.Context, eventID string) (any, error) {
			known, err := operations.Drop(ctx, eventID)
			if err != nil || !known {
				return nil, err
			}
			logger.Warn("audit: an operator dropped a usage record; it will not be billed", "event_id", eventID)
			return map[string]any{"dropped": eventID}, nil
		},
	}
}

// ManageUsage carries out a command on the parked records of the store that c
// names, and returns its result as JSON. A data directory that the service holds
// is reached by its admin listener.
func ManageUsage(ctx context.Context, c *config.Config, logTo io.Writer, command, eventID string) (json.RawMessage, error) {
	if c.Usage.Backend != config.Events {
		return nil, config.Refuse("usage.backend", "no usage records are delivered with these settings")
	}
	logger, _ := newLogger(c, logTo)
	settings, err := storeConfig(c, logger, metrics.NewSet())
	if err != nil {
		return nil, err
	}
	settings.Idle = true
	operations, err := store.Open(ctx, settings)
	var result any
	switch {
	case err == nil:
		running, stop := context.WithTimeout(ctx, usageTimeout)
		ended := make(chan error, 1)
		go func() { ended <- operations.Run(running) }()
		result, err = endpoints(operations, logger)["POST "+usagePath+command](running, eventID)
		stop()
		err = errors.Join(err, <-ended)
	case errors.Is(err, store.ErrInUse) && c.Admin.Addr == "":
		err = fmt.Errorf("%w; or set its --admin-addr, through which this works while it runs", err)
	case errors.Is(err, store.ErrInUse):
		result, err = askService(ctx, c.Admin.Addr, command, eventID)
	}
	switch {
	case err != nil:
		return nil, err
	case result == nil:
		return nil, fmt.Errorf("no parked record has the event id %q", eventID)
	}
	return json.Marshal(result)
}

// askService has the running service carry a command out, nil as of an admin.Endpoint.
func askService(ctx context.Context, addr, command, eventID string) (result any, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+usagePath+command+"?arg="+url.QueryEscape(eventID), nil)
	if err != nil {
		return nil, err
	}
	reply, err := address.Client(addr, usageTimeout).Do(request)
	if err != nil {
		return nil, fmt.Errorf("the service holds the data directory, and its admin listener does not answer: %w", err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	switch {
	case err == nil && reply.StatusCode == http.StatusOK:
		result = json.RawMessage(text)
	case err == nil && reply.StatusCode != http.StatusNotFound:
		err = fmt.Errorf("the admin listener on %s answers %s: %s", addr, reply.Status, text)
	}
	return result, err
}
