package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// startPatience bounds how long Start waits for the workers' streams.
const startPatience = 30 * time.Second

// Config describes a whole platform. The zero value is one on a free port.
type Config struct {
	// Addr is where the Events API listens; empty means a free loopback port.
	Addr string
	// Secret signs and verifies all tokens; empty means DevSecret.
	Secret string
	// Seed is where all dice start.
	Seed uint64
	// TLS and IdleTimeout: see EventsConfig.
	TLS         bool
	IdleTimeout time.Duration
	// VM describes the machine.
	VM VMConfig
	// Logger gets a line per event; nil means silence.
	Logger *slog.Logger
}

// Platform is an Events API with a VM, a billing and a usage worker.
type Platform struct {
	Events  *Events
	VM      *VMWorker
	Billing *BillingWorker
	Usage   *UsageWorker

	secret string
}

// Start brings everything up and returns once the workers listen.
func Start(cfg Config) (*Platform, error) {
	if cfg.Secret == "" {
		cfg.Secret = DevSecret
	}
	events := NewEvents(EventsConfig{
		Addr: cfg.Addr, Secret: cfg.Secret, Seed: cfg.Seed, TLS: cfg.TLS, IdleTimeout: cfg.IdleTimeout, Logger: cfg.Logger,
	})
	if err := events.Start(); err != nil {
		return nil, err
	}
	worker := WorkerConfig{URL: events.URL(), Roots: events.Roots(), Secret: cfg.Secret, Seed: cfg.Seed, Logger: cfg.Logger}
	p := &Platform{
		Events:  events,
		VM:      NewVMWorker(worker, cfg.VM),
		Billing: NewBillingWorker(worker),
		Usage:   NewUsageWorker(worker),
		secret:  cfg.Secret,
	}
	for _, w := range p.Workers() {
		w.Start()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	if err := p.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Workers returns the three workers.
func (p *Platform) Workers() []*Worker {
	return []*Worker{p.VM.Worker, p.Billing.Worker, p.Usage.Worker}
}

// WaitReady waits until every worker listens, for example after a restart of
// the Events API.
func (p *Platform) WaitReady(ctx context.Context) error {
	for _, w := range p.Workers() {
		for _, name := range w.names {
			if err := p.Events.WaitListeners(ctx, name, 1); err != nil {
				return fmt.Errorf("the %s worker does not listen to %s: %w", w.label, name, err)
			}
		}
	}
	return nil
}

// URL is the root of the Events API, for BUS_EVENTS_API_URL.
func (p *Platform) URL() string { return p.Events.URL() }

// ProviderToken mints a token for BUS_API_TOKEN.
func (p *Platform) ProviderToken() string { return ProviderToken(p.secret) }

// CallerToken mints a token for a caller of the provider.
func (p *Platform) CallerToken(account, scope string) string {
	return CallerToken(p.secret, account, scope)
}

// Check is UsageWorker.Check, and what the other workers saw that the contract
// forbids.
func (p *Platform) Check(operations ...Operation) []string {
	return slices.Concat(p.Usage.Check(operations...), p.VM.Violations(), p.Billing.Violations())
}

// Close stops the workers, then the Events API.
func (p *Platform) Close() error {
	for _, w := range p.Workers() {
		w.Stop()
	}
	return p.Events.Stop()
}
