package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// Main runs the command line in args (without the name of the program) in the
// environment of this process and returns the exit code. The first SIGTERM or
// SIGINT drains, the second ends the process; SIGHUP reloads.
func Main(args []string) int {
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

	return cli.Main(ctx, args, cli.Env{
		Environ: os.Environ(),
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Now:     time.Now,
		Hangup:  hangup,
		Serve:   Serve,
		Examine: Examine,
		OpenAPI: routes.OpenAPI,
	})
}
