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
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// The first signal drains; from then on a second one ends the process.
	context.AfterFunc(ctx, stop)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	return cli.Main(ctx, os.Args[1:], cli.Env{
		Environ: os.Environ(),
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Now:     time.Now,
		Hangup:  hangup,
	}, app.Serve)
}
