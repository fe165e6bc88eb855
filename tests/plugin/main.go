// Command plugin is another Fiber application that carries the VM API below a
// prefix of its own: a module of its own, so that it sees only what any other
// application can import.
//
// It listens on a free port of 127.0.0.1 and verifies tokens for its own
// audience with its own secret, PLUGIN_SECRET.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/middleware"
	"github.com/busdk/bus-api-provider-vm/routes"
	"github.com/gofiber/fiber/v2"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("plugin failed", "cause", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/", func(c *fiber.Ctx) error { return c.SendString("the application's own page") })
	vm, err := mount(app.Group("/machines"))
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	slog.Info("serving", "addr", listener.Addr().String())
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { served <- app.Listener(listener) }()
	go func() { ran <- vm.Run(ctx) }()
	<-ctx.Done()
	return errors.Join(app.Shutdown(), <-served, <-ran)
}

// mount is all that it takes. The caller runs the backend.
func mount(router fiber.Router) (backend.Backend, error) {
	auth, err := middleware.NewAuthenticator(middleware.AuthConfig{
		Secrets:   [][]byte{[]byte(os.Getenv("PLUGIN_SECRET"))},
		Audiences: []string{"plugin.example"},
	})
	if err != nil {
		return nil, err
	}
	vm := backend.NewStatic(backend.StaticConfig{})
	routes.Mount(router, routes.Config{Backend: vm, Auth: auth, Logger: slog.Default()})
	return vm, nil
}
