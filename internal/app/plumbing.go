package app

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/outbox"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// plumbing is what stands behind the routes beside the backend. A part that
// the settings leave out is nil.
type plumbing struct {
	entitlement middleware.EntitlementChecker
	usage       routes.Recorder
	memory      *usage.Memory
	outbox      *outbox.Outbox
	client      *events.Client
	parts       []part
}

// part is something long-lived, or a condition of readiness, or both.
type part struct {
	name  string // of the condition, for operators
	run   func(ctx context.Context) error
	ready func() error
	close func() error
}

// connect builds the backend and its plumbing from the settings.
func (a *App) connect() (err error) {
	if a.config.NeedsEvents() {
		if err := a.connectEvents(); err != nil {
			return err
		}
	}
	if a.config.Usage.Backend == config.Memory {
		a.plumbing.memory = usage.NewMemory(time.Now)
		a.plumbing.usage = a.plumbing.memory
	}
	a.backend, err = backend.New(a.config.Backend, backend.Config{
		Static: backend.StaticConfig{
			State:      a.config.Static.State,
			Transition: a.config.Static.Transition,
			Details:    json.RawMessage("{}"), // like the platform's own example
		},
		Events: backend.EventsConfig{
			Client:        a.plumbing.client,
			MaxAge:        a.config.Status.MaxAge,
			Refresh:       a.config.Status.Refresh,
			RefreshMoving: a.config.Status.RefreshMoving,
			Timeout:       a.config.Timeout,
			Metrics:       a.metrics,
		},
	})
	return err
}

func (p *plumbing) add(part part) { p.parts = append(p.parts, part) }

// run runs the backend and all parts until ctx ends or one of them fails, and
// returns when all have returned.
func (p *plumbing) run(ctx context.Context, b backend.Backend) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runs := []func(context.Context) error{b.Run}
	for _, part := range p.parts {
		if part.run != nil {
			runs = append(runs, part.run)
		}
	}
	ended := make(chan error, len(runs))
	for _, run := range runs {
		go func() { ended <- run(ctx) }()
	}
	var failures []error
	for range runs {
		failures = append(failures, <-ended)
		cancel()
	}
	return errors.Join(failures...)
}

func (p *plumbing) close() error {
	var failures []error
	for _, part := range p.parts {
		if part.close != nil {
			failures = append(failures, part.close())
		}
	}
	return errors.Join(failures...)
}
