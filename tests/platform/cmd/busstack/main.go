// Command busstack runs a Bus Events API and the VM, billing and usage workers
// in the foreground, for a provider to be tried against. Each event is one line
// on stderr. SIGUSR1 prints what is on record; Ctrl-C does, too, and ends everything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const timeLayout = "15:04:05.000"

type options struct {
	addr, tokenFile string
	deny, provider  string
	start, stop     time.Duration
	verbose         bool
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	switch err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "busstack:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("busstack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8081", "address of the Events API, also served below "+platform.LocalRoot)
	flags.StringVar(&o.tokenFile, "token-file", "", "write the provider's token to this file (mode 0600)")
	flags.StringVar(&o.deny, "deny", "", "comma-separated accounts that billing denies")
	flags.StringVar(&o.provider, "provider", "", "name of the provider in the status")
	flags.DurationVar(&o.start, "start-time", 3*time.Second, "how long the machine takes to start")
	flags.DurationVar(&o.stop, "stop-time", 2*time.Second, "how long the machine takes to stop")
	flags.BoolVar(&o.verbose, "v", false, "also print each accepted publish")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// run serves until ctx ends. The secret is BUS_VM_JWT_SECRET, or the
// well-known development secret.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	p, err := platform.Start(platform.Config{
		Addr:   o.addr,
		Secret: getenv("BUS_VM_JWT_SECRET"),
		VM:     platform.VMConfig{StartTime: o.start, StopTime: o.stop, Provider: o.provider},
		Logger: newLogger(stderr, o.verbose),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for account := range strings.SplitSeq(o.deny, ",") {
		if account != "" {
			p.Billing.Decide(account, platform.Decision{Command: "bus billing setup", RecommendedPlan: "vm-basic"})
		}
	}
	if o.tokenFile != "" {
		if err := os.WriteFile(o.tokenFile, []byte(p.ProviderToken()+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the provider's token: %w", err)
		}
	}
	fmt.Fprintf(stdout, "busstack ready at %s\n", p.URL())
	show := make(chan os.Signal, 1)
	signal.Notify(show, syscall.SIGUSR1)
	defer signal.Stop(show)
	for {
		select {
		case <-show:
			summarize(p, stdout)
		case <-ctx.Done():
			summarize(p, stdout)
			return nil
		}
	}
}

// summarize prints the usage records, and what is broken or still open.
func summarize(p *platform.Platform, out io.Writer) {
	fmt.Fprintln(out, "on record:")
	for _, r := range p.Usage.Records() {
		fmt.Fprintf(out, "usage %s %s account=%s request=%s", r.OccurredAt.Format(time.RFC3339), r.EventType, r.Account, r.RequestID)
		if outcome, ended := r.Data["outcome"]; ended {
			fmt.Fprintf(out, " outcome=%v", outcome)
		}
		fmt.Fprintln(out)
	}
	for _, breach := range p.Check() {
		fmt.Fprintln(out, "breach", breach)
	}
}

// newLogger prints a line as its time, message and attributes.
func newLogger(out io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey:
				a.Value = slog.StringValue(a.Value.Time().Format(timeLayout))
			case slog.LevelKey:
				return slog.Attr{}
			}
			return a
		},
	}))
}
