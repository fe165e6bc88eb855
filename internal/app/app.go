// Package app puts the gateway together from its settings and runs it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/billing"
	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/outbox"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
	"github.com/busdk/bus-api-provider-vm/internal/systemd"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/internal/version"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// writeTimeout is how long a client may take to read one reply.
const writeTimeout = 10 * time.Second

// app is what the parts of one gateway share.
type app struct {
	config  *config.Config
	logger  *slog.Logger
	level   *slog.LevelVar // of logger
	metrics *metrics.Set
	auth    *middleware.Authenticator
	parts   []part

	secrets    [][]byte     // in force; the reloader's once it runs
	publicKeys *jwks.Source // nil without a JWKS
}

// part is something long-lived, or a condition of readiness, or both.
type part struct {
	name  string                      // of the condition, for operators
	run   func(context.Context) error // until its context ends, which is no error
	ready func() error                // nil while this instance may get traffic
	close func() error                // for a gateway that never runs, and after run
}

func (a *app) add(p part) { a.parts = append(a.parts, p) }

// Serve runs the gateway with settings c until ctx ends, then drains it. What is
// wrong with the settings or the machine shows before anything runs. With --dev
// it greets on stdout; everything else goes to the log on stderr.
func Serve(ctx context.Context, c *config.Config, env cli.Env) (err error) {
	a := &app{config: c, metrics: metrics.NewSet()}
	a.logger, a.level = newLogger(c, env.Stderr)
	defer func() { err = errors.Join(err, a.close()) }()

	// 1. Changed files and SIGHUP are followed before anything reads those files,
	// so that no change is missed. With --dev a hangup ends the gateway.
	if c.Dev {
		a.add(part{run: until(env.Hangup)})
		env.Hangup = nil
	}
	a.follow(env.Hangup)

	// 2. Keys for callers' tokens. Those from a URL come later, and /readyz waits.
	if err := a.authenticate(); err != nil {
		return err
	}

	// 3. The Events API, billing and usage.
	var client *events.Client
	if c.NeedsEvents() {
		if client, err = a.connect(); err != nil {
			return err
		}
	}
	var entitlement middleware.EntitlementChecker
	if c.Billing.Backend == config.Events {
		entitlement = billing.NewChecker(client)
	}
	var recorder routes.Recorder
	operators := admin.Config{Metrics: a.metrics, Pprof: c.Admin.Pprof, Logger: a.logger}
	switch c.Usage.Backend {
	case config.Memory:
		memory := new(usage.Memory)
		recorder, operators.Records = memory, memory.Records
	case config.Events:
		box, err := outbox.Open(outbox.Config{
			Dir: c.DataDir, MaxRecords: c.Usage.MaxRecords, Sender: usage.NewPublisher(client),
			LateReply: c.Events.LateReply, Logger: a.logger, Metrics: a.metrics,
		})
		if err != nil {
			return err
		}
		recorder, operators.Outbox = box, box.Report
		a.add(part{name: "usage outbox", run: box.Run, ready: box.Healthy, close: box.Close})
	}

	// 4. The runtime.
	var machine backend.Backend = backend.NewStatic(backend.StaticConfig{State: c.Static.State, Transition: c.Static.Transition})
	if c.Backend == config.Events {
		machine = backend.NewEvents(client, snapshot.Config{
			Timeout: c.Timeout, MaxAge: c.Status.MaxAge, Refresh: c.Status.Refresh, RefreshMoving: c.Status.RefreshMoving,
			Metrics: a.metrics,
		})
	}
	a.add(part{run: machine.Run})

	// 5. The API and its listener; sockets that systemd opened win over the settings.
	api := server.New(server.Config{
		HeaderBytes: c.Server.HeaderBytes, ReadTimeout: c.Server.ReadTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: c.Server.IdleTimeout, MaxConnections: c.Server.MaxConnections,
		ShutdownDelay: c.Shutdown.Delay, ShutdownTimeout: c.Shutdown.Timeout,
		Logger: a.logger, Metrics: a.metrics,
	}, func(router fiber.Router) {
		routes.Mount(router, routes.Config{
			Backend: machine, Auth: a.auth, Entitlement: entitlement, Usage: recorder, Timeout: c.Timeout, Ready: a.ready,
			WritesInFlight: c.Limits.WritesInFlight, WritesPerSecond: c.Limits.WritesPerSecond,
			Logger: a.logger, Metrics: a.metrics,
		})
	})
	a.parts = append([]part{{name: "not draining", ready: api.Ready}}, a.parts...)
	inherited, err := systemd.Inherit()
	if err != nil {
		return err
	}
	adminListener, err := a.listen(inherited.Admin, c.Admin.Addr)
	if err != nil {
		return fmt.Errorf("--admin-addr: %w", err)
	}
	listener, err := a.listen(inherited.API, c.Addr)
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	a.add(part{run: a.watchdog(api, listener.Addr())})

	// 6. The listener for operators, which shows all of the above.
	if adminListener != nil {
		for _, p := range a.parts {
			if p.ready != nil {
				operators.Checks = append(operators.Checks, admin.Check{Name: p.name, Ready: p.ready})
			}
		}
		a.add(part{run: func(ctx context.Context) error { return admin.New(operators).Run(ctx, adminListener) }})
	}

	if c.Dev {
		if err := greet(env.Stdout, c, listener.Addr()); err != nil {
			return err
		}
	}
	a.announce(listener, adminListener)
	return a.run(ctx, api, listener)
}

// run serves until ctx ends. Traffic drains before its plumbing:
//
//  1. the server stops taking requests and finishes those in flight;
//  2. then the backend, the Events client and the outbox end;
//  3. requests that still waited for one of these are told so.
//
// If a part fails, the server drains all the same and the failure is returned.
func (a *app) run(ctx context.Context, api *server.Server, listener net.Listener) error {
	defer raiseHeap()()
	systemd.Ready()
	defer context.AfterFunc(ctx, systemd.Stopping)()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()

	ended := make(chan error, len(a.parts))
	running := 0
	for _, p := range a.parts {
		if p.run != nil {
			running++
			go func() { ended <- p.run(behind) }()
		}
	}
	failed := make(chan error, 1)
	go func() {
		var failures []error
		for range running {
			failures = append(failures, <-ended)
			stopServing()
			stopBehind()
		}
		failed <- errors.Join(failures...)
	}()
	err := api.Run(serving, listener)
	stopBehind()
	failures := <-failed
	api.AwaitLast()
	return errors.Join(err, failures)
}

func (a *app) close() error {
	var failures []error
	for _, p := range a.parts {
		if p.close != nil {
			failures = append(failures, p.close())
		}
	}
	return errors.Join(failures...)
}

// ready returns the first reason not to get traffic.
func (a *app) ready() error {
	for _, p := range a.parts {
		if p.ready == nil {
			continue
		}
		if err := p.ready(); err != nil {
			return err
		}
	}
	return nil
}

// listen returns a listener on addr, or on the inherited socket; nil for neither.
func (a *app) listen(inherited net.Listener, addr string) (l net.Listener, err error) {
	switch {
	case inherited != nil:
		l = inherited // its backlog is left to the next process
	case addr == "":
		return nil, nil
	default:
		l, err = server.Listen(server.ListenConfig{Addr: addr, SocketMode: a.config.Socket.Mode, SocketGroup: a.config.Socket.Group})
		if err != nil {
			return nil, err
		}
	}
	a.add(part{close: func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // its server has closed it
	}})
	return l, nil
}

// announce logs the one line that says what was started, and what is unwise.
func (a *app) announce(listener, adminListener net.Listener) {
	operators := ""
	if adminListener != nil {
		operators = adminListener.Addr().String()
	}
	a.logger.Info("serving",
		"version", version.String(),
		"addr", listener.Addr().String(),
		"backend", a.config.Backend,
		"billing", a.config.Billing.Backend,
		"usage", a.config.Usage.Backend,
		"events", a.config.Events.URL, // empty, or a URL without a secret: settings see to that
		"admin", operators)
	for _, warning := range a.config.Warnings {
		a.logger.Warn(warning)
	}
}

// connect returns the client of the Events API with the reply streams that the
// enabled backends need.
func (a *app) connect() (*events.Client, error) {
	c := a.config
	token, err := providerToken(c, a.logger)
	if err != nil {
		return nil, err
	}
	client, err := events.New(events.Config{
		URL: c.Events.URL, Token: token, Replies: neededReplies(c), Timeout: c.Timeout, LateReply: c.Events.LateReply,
		Retry: c.Events.ListenerRetry, RetryMin: c.Events.ListenerRetryMin, RetryMax: c.Events.ListenerRetryMax,
		Logger: a.logger, Metrics: a.metrics,
	})
	if err != nil {
		return nil, err
	}
	a.inspectFirst(token, neededReplies(c))
	a.measureExpiry(token)
	a.add(part{run: client.Run})
	if c.Events.ListenerRequired {
		a.add(part{name: "reply streams", ready: func() error {
			if missing := client.Missing(listenerGrace); len(missing) > 0 {
				return fmt.Errorf("reply streams not connected: %s", strings.Join(missing, ", "))
			}
			return nil
		}})
	}
	return client, nil
}

// listenerGrace is how long a reply stream may be away before /readyz says so:
// one reconnect must not flap it.
const listenerGrace = 5 * time.Second

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

// heapBallast is how large the heap counts at least, in bytes, when the collector
// decides when to run next. The gateway keeps a few megabytes alive, and would
// collect them hundreds of times a second under a flood of new tokens. The
// address space is never touched, so it takes no memory.
const heapBallast = 8 << 20

// raiseHeap holds the ballast until release is called.
func raiseHeap() (release func()) {
	ballast := make([]byte, heapBallast)
	return func() { runtime.KeepAlive(&ballast[0]) }
}
