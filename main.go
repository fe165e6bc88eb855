// Command bus-api-provider-vm is the VM API provider: a gateway that reads,
// starts and stops one runtime for callers with bearer tokens.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/app"
	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/routes"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() { // until the process ends
		<-end
		// First things first: from the moment that anyone can see the drain, a
		// second signal ends the process.
		signal.Stop(end)
		drain()
	}()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	return cli.Main(ctx, os.Args[1:], cli.Env{
		Environ: os.Environ(),
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Now:     time.Now,
		Hangup:  hangup,
		Serve:   app.Serve,
		Examine: app.Examine,
		OpenAPI: routes.OpenAPI,
	})
}
