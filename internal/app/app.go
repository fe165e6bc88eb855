// Package app puts the gateway together from its settings and runs it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/admin"
	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/internal/systemd"
	"github.com/busdk/bus-api-provider-vm/internal/version"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// App is the gateway, put together and not yet serving.
type App struct {
	config   *config.Config
	logger   *slog.Logger
	level    *slog.LevelVar // of logger
	metrics  *metrics.Set
	auth     *middleware.Authenticator
	backend  backend.Backend
	plumbing plumbing
	server   *server.Server
	listener net.Listener
	admin    net.Listener // nil when off

	secrets    [][]byte     // in force; the reloader's once it runs
	publicKeys *jwks.Store  // nil without a JWKS
	remoteKeys *jwks.Remote // nil without a URL of one
}

// Serve serves with the given settings until ctx ends, then drains. With --dev
// it greets on stdout; everything else goes to the log on stderr.
func Serve(ctx context.Context, c *config.Config, env cli.Env) error {
	logger, level := newLogger(c.Log, env.Stderr)
	app, err := New(c, Env{Logger: logger, Level: level, Hangup: env.Hangup})
	if err != nil {
		return err
	}
	if c.Dev {
		if err := app.greet(env.Stdout); err != nil {
			return errors.Join(err, app.Close())
		}
	}
	return app.Run(ctx)
}

// Env is what an App needs beside its settings.
type Env struct {
	Logger *slog.Logger
	// Level is the level of Logger, which follows the settings.
	Level *slog.LevelVar
	// Hangup asks for a reload; with --dev it ends the App.
	Hangup <-chan os.Signal
}

// New puts everything together and opens the listener, so that what is wrong
// with the settings or the machine shows before anything runs.
func New(c *config.Config, env Env) (_ *App, err error) {
	a := &App{config: c, logger: env.Logger, level: env.Level, metrics: metrics.NewSet()}
	if c.Dev {
		a.plumbing.add(untilHangup(env.Hangup))
		env.Hangup = nil
	}
	a.follow(env.Hangup)
	if err := a.authenticate(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.plumbing.close())
		}
	}()
	if err := a.connect(); err != nil {
		return nil, err
	}
	a.server = server.New(server.Config{
		HeaderBytes:     c.Server.HeaderBytes,
		ReadTimeout:     c.Server.ReadTimeout,
		WriteTimeout:    c.Server.WriteTimeout,
		IdleTimeout:     c.Server.IdleTimeout,
		MaxConnections:  c.Server.MaxConnections,
		ShutdownDelay:   c.Shutdown.Delay,
		ShutdownTimeout: c.Shutdown.Timeout,
		Logger:          a.logger,
		Metrics:         a.metrics,
	}, a.mount)
	return a, a.listen()
}

// mount registers the API.
func (a *App) mount(router fiber.Router) {
	routes.Mount(router, routes.Config{
		Backend:     a.backend,
		Auth:        a.auth,
		Entitlement: a.plumbing.entitlement,
		Usage:       a.plumbing.usage,
		Timeout:     a.config.Timeout,
		Ready:       a.ready,

		WritesInFlight:  a.config.Limits.WritesInFlight,
		WritesPerSecond: a.config.Limits.WritesPerSecond,
		Logger:          a.logger,
		Metrics:         a.metrics,
	})
}

// checks are the conditions under which this instance should get traffic.
func (a *App) checks() []admin.Check {
	checks := []admin.Check{{Name: "not draining", Ready: a.server.Ready}}
	for _, part := range a.plumbing.parts {
		if part.ready != nil {
			checks = append(checks, admin.Check{Name: part.name, Ready: part.ready})
		}
	}
	return checks
}

// ready returns the first reason not to get traffic. The server exists by the
// time a request asks.
func (a *App) ready() error {
	for _, check := range a.checks() {
		if err := check.Ready(); err != nil {
			return err
		}
	}
	return nil
}

// listen opens the listeners: that of the API, and that of operators. Sockets
// that systemd opened come before the settings.
func (a *App) listen() error {
	inherited, err := systemd.Inherit()
	if err != nil {
		return err
	}
	if a.admin, err = a.open(inherited.Admin, a.config.Admin.Addr); err != nil {
		return fmt.Errorf("--admin-addr: %w", err)
	}
	if l := a.admin; l != nil {
		a.plumbing.add(part{run: func(ctx context.Context) error { return a.adminServer().Run(ctx, l) }, close: func() error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil // it ran, and closed its listener
		}})
	}
	if a.listener, err = a.open(inherited.API, a.config.Addr); err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	a.plumbing.add(part{run: a.watchdog})
	return nil
}

// open returns a listener on addr, or on the inherited socket; nil for neither.
func (a *App) open(inherited net.Listener, addr string) (net.Listener, error) {
	switch {
	case inherited != nil:
		return inherited, nil // its backlog is left to the next process
	case addr == "":
		return nil, nil
	}
	return server.Listen(server.ListenConfig{
		Addr:        addr,
		SocketMode:  a.config.Socket.Mode,
		SocketGroup: a.config.Socket.Group,
	})
}

func (a *App) adminServer() *admin.Server {
	c := admin.Config{Metrics: a.metrics, Checks: a.checks(), Pprof: a.config.Admin.Pprof, Logger: a.logger}
	if a.plumbing.memory != nil {
		c.Records = a.plumbing.memory.Records
	}
	if a.plumbing.outbox != nil {
		c.Outbox = a.plumbing.outbox.Report
	}
	return admin.New(c)
}

// Run serves until ctx ends. Traffic drains before its plumbing:
//
//  1. the server stops taking requests and finishes those in flight;
//  2. then the backend, the Events client and the outbox end;
//  3. requests that still waited for one of these are told so.
//
// If a part of the plumbing fails, the server drains all the same and the
// failure is returned.
func (a *App) Run(ctx context.Context) error {
	defer raiseHeap()()
	a.announce()
	systemd.Ready()
	stopping := context.AfterFunc(ctx, systemd.Stopping)
	defer stopping()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	plumbing, stopPlumbing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPlumbing()

	ended := make(chan error, 1)
	go func() {
		ended <- a.plumbing.run(plumbing, a.backend)
		stopServing()
	}()
	err := a.server.Run(serving, a.listener)
	stopPlumbing()
	failed := <-ended
	a.server.AwaitLast()
	return errors.Join(err, failed, a.plumbing.close())
}

// Close ends an App that was never run.
func (a *App) Close() error { return errors.Join(a.listener.Close(), a.plumbing.close()) }

// Addr is where the App listens; useful with port 0.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// announce logs the one line that says what was started, and what is unwise.
func (a *App) announce() {
	admin := ""
	if a.admin != nil {
		admin = a.admin.Addr().String()
	}
	a.logger.Info("serving",
		"version", version.String(),
		"addr", a.listener.Addr().String(),
		"backend", a.config.Backend,
		"billing", a.config.Billing.Backend,
		"usage", a.config.Usage.Backend,
		"events", a.config.Events.URL, // empty, or a URL without a secret: settings see to that
		"admin", admin)
	for _, warning := range a.config.Warnings {
		a.logger.Warn(warning)
	}
}
