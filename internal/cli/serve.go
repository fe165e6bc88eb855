package cli

import (
	"context"
	"fmt"

	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// runServe serves, or answers one of the questions about the settings. Help is
// given in spite of wrong flags, since it is what tells the right ones;
// everything else wants all flags right first.
func runServe(ctx context.Context, args []string, env Env) error {
	flags := newFlagSet(serveCommand())
	usage := config.ParseFlags(flags, args)
	switch {
	case isSet(flags, "help"):
		return printHelp(env.Stdout, serveCommand())
	case usage == nil && isSet(flags, "version"):
		return printVersion(env.Stdout)
	}
	// Settings are read in spite of wrong flags, to report everything at once.
	c, err := config.Load(config.Input{Flags: flags, Environ: env.Environ})
	if err := config.Join(usage, err); err != nil {
		return err
	}
	switch {
	case isSet(flags, "print-config"):
		printWarnings(env.Stderr, c)
		return c.Print(env.Stdout)
	case isSet(flags, "check-config"):
		printWarnings(env.Stderr, c)
		_, err := fmt.Fprintln(env.Stdout, "configuration ok")
		return err
	}
	return env.Serve(ctx, c, env)
}
