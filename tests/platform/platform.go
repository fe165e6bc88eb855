// Package platform is the part of the Bus platform that a VM provider meets:
// a Bus Events API on a real socket, and the VM, billing and usage workers
// behind it. Tests turn its faults on and ask it what really happened;
// cmd/busstack runs it in the foreground.
//
// It shares no code with the provider's own Events client: what it accepts,
// refuses and counts is an independent reading of the platform's contract, so
// a misunderstanding on the provider's side shows instead of cancelling out.
//
// # Identity
//
// The Events API stamps each event with the `sub` of the token that published
// it, and a stream carries only events of its own token's `sub`. There is no
// privileged reader. A provider and its workers therefore hold tokens of one
// service identity (Identity) with different scopes; a second deployment is a
// second identity, and neither sees anything of the other.
//
// # Delivery
//
// Broadcast gives an event to each listener. Unicast gives it to one listener
// of each group in turn; a group remembers how far it got, so a worker that
// returns with replay=true finds the requests it missed and no older ones. An
// event handed to a stream that is cut before writing it out is lost to that
// group, as with any at-most-once queue.
package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// startPatience bounds how long Start waits for the workers' streams.
const startPatience = 30 * time.Second

// Config describes a whole platform. The zero value is one on a free port.
type Config struct {
	// Addr is where the Events API listens; empty means a free loopback port,
	// which stays the same over restarts.
	Addr string
	// Secret signs and verifies all tokens, as raw text; empty means DevSecret.
	Secret string
	// Seed is where all dice start.
	Seed uint64
	// TLS serves https under a certificate of its own; Events.Roots returns it.
	TLS bool
	// IdleTimeout is how long a connection without a request stays open; zero
	// means for ever. A TLS connection is closed with close_notify.
	IdleTimeout time.Duration
	// Wrap puts something in front of the Events API; nil is nothing.
	Wrap func(http.Handler) http.Handler
	// VM describes the machine.
	VM VMConfig
	// Logger gets a line per publish (debug when accepted, info when refused),
	// per stream opened or closed, and per request; nil means silence.
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
	cfg.Secret = cmp.Or(cfg.Secret, DevSecret)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	events := newEvents(cfg)
	if err := events.start(); err != nil {
		return nil, err
	}
	p := &Platform{
		Events:  events,
		VM:      newVMWorker(events),
		Billing: newBillingWorker(events),
		Usage:   newUsageWorker(events),
		secret:  cfg.Secret,
	}
	for _, w := range p.workers() {
		w.start()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	if err := p.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Platform) workers() []*Worker {
	return []*Worker{p.VM.Worker, p.Billing.Worker, p.Usage.Worker}
}

// WaitReady waits until every worker listens, for example after a restart of
// the Events API.
func (p *Platform) WaitReady(ctx context.Context) error {
	for _, w := range p.workers() {
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

// ProviderToken mints a token for BUS_API_TOKEN, with every scope that the
// provider's three backends need.
func (p *Platform) ProviderToken() string {
	return Token(p.secret, Claims{Scope: ProviderScope, TTL: serviceTokenTTL})
}

// CallerToken mints a token for a caller of the provider.
func (p *Platform) CallerToken(account, scope string) string {
	return CallerToken(p.secret, account, scope)
}

// Check is UsageWorker.Check, and what the workers saw that the contract
// forbids.
func (p *Platform) Check(operations ...Operation) []string {
	return slices.Concat(p.Usage.Check(operations...), p.VM.violations(), p.Billing.violations())
}

// Close stops the workers, then the Events API.
func (p *Platform) Close() error {
	for _, w := range p.workers() {
		w.close()
	}
	return p.Events.Stop()
}
