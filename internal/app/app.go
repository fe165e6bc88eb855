// Package app puts the gateway together from its settings and runs it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/internal/version"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// App is the gateway, put together and not yet serving.
type App struct {
	config   *config.Config
	logger   *slog.Logger
	metrics  *metrics.Set
	auth     *middleware.Authenticator
	backend  backend.Backend
	plumbing plumbing
	server   *server.Server
	listener net.Listener
}

// Serve serves with the given settings until ctx ends, then drains. With --dev
// it greets on stdout; everything else goes to the log on stderr.
func Serve(ctx context.Context, c *config.Config, env cli.Env) error {
	app, err := New(c, newLogger(c.Log, env.Stderr))
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

// New puts everything together and opens the listener, so that what is wrong
// with the settings or the machine shows before anything runs.
func New(c *config.Config, logger *slog.Logger) (_ *App, err error) {
	a := &App{config: c, logger: logger, metrics: metrics.NewSet()}
	secrets, err := config.LoadJWTSecrets(c)
	if err != nil {
		return nil, err
	}
	a.auth, err = middleware.NewAuthenticator(middleware.AuthConfig{
		Secrets:   secrets,
		Leeway:    c.JWT.Leeway,
		CacheSize: c.JWT.CacheSize,
		Logger:    logger,
	})
	if err != nil {
		return nil, fmt.Errorf("token verification: %w", err)
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
		Logger:          logger,
	}, a.mount)
	a.listener, err = server.Listen(server.ListenConfig{
		Addr:        c.Addr,
		SocketMode:  c.Socket.Mode,
		SocketGroup: c.Socket.Group,
	})
	return a, err
}

// mount registers the API; the server exists by the time a request asks Ready.
func (a *App) mount(router fiber.Router) {
	routes.Mount(router, routes.Config{
		Backend:     a.backend,
		Auth:        a.auth,
		Entitlement: a.plumbing.entitlement,
		Usage:       a.plumbing.usage,
		Timeout:     a.config.Timeout,
		Ready:       a.ready,
		Logger:      a.logger,
	})
}

// ready adds to the backend's readiness what else must work.
func (a *App) ready() error {
	if err := a.server.Ready(); err != nil {
		return err
	}
	return a.plumbing.ready()
}

// Run serves until ctx ends. Traffic drains before its plumbing:
//
//  1. the server stops taking requests and finishes those in flight;
//  2. then the backend, the Events client and the outbox end.
//
// If a part of the plumbing fails, the server drains all the same and the
// failure is returned.
func (a *App) Run(ctx context.Context) error {
	a.announce()
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
	return errors.Join(err, <-ended, a.plumbing.close())
}

// Close ends an App that was never run.
func (a *App) Close() error { return errors.Join(a.listener.Close(), a.plumbing.close()) }

// Addr is where the App listens; useful with port 0.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// announce logs the one line that says what was started, and what is unwise.
func (a *App) announce() {
	a.logger.Info("serving",
		"version", version.String(),
		"addr", a.listener.Addr().String(),
		"backend", a.config.Backend,
		"billing", a.config.Billing.Backend,
		"usage", a.config.Usage.Backend)
	for _, warning := range a.config.Warnings {
		a.logger.Warn(warning)
	}
}
