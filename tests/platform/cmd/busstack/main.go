// Command busstack runs a Bus Events API and the VM, billing and usage workers
// in the foreground, for a provider to be tried against. Each event is one line
// on stderr. SIGUSR1 prints what is on record; Ctrl-C does, too, and ends everything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "busstack:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The secret is BUS_VM_JWT_SECRET, or the
// well-known development secret.
func run(ctx context.Context) (err error) {
	config, level := platform.Config{Secret: os.Getenv("BUS_VM_JWT_SECRET")}, slog.LevelInfo
	flag.StringVar(&config.Addr, "addr", "127.0.0.1:8081", "address of the Events API, also served below "+platform.LocalRoot)
	tokenFile := flag.String("token-file", "", "write the provider's token to this file (mode 0600)")
	deny := flag.String("deny", "", "comma-separated accounts that billing denies")
	flag.StringVar(&config.VM.Provider, "provider", "", "name of the provider in the status")
	flag.DurationVar(&config.VM.StartTime, "start-time", 3*time.Second, "how long the machine takes to start")
	flag.DurationVar(&config.VM.StopTime, "stop-time", 2*time.Second, "how long the machine takes to stop")
	verbose := flag.Bool("v", false, "also print each accepted publish")
	if flag.Parse(); flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *verbose {
		level = slog.LevelDebug
	}
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	p, err := platform.Start(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for account := range strings.SplitSeq(*deny, ",") {
		if account != "" {
			p.Billing.Decide(account, platform.Decision{Command: "bus billing setup", RecommendedPlan: "vm-basic"})
		}
	}
	if *tokenFile != "" {
		if err := os.WriteFile(*tokenFile, []byte(p.ProviderToken()+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the provider's token: %w", err)
		}
	}
	fmt.Printf("busstack ready at %s\n", p.URL())
	show := make(chan os.Signal, 1)
	signal.Notify(show, syscall.SIGUSR1)
	for ctx.Err() == nil {
		select {
		case <-show:
		case <-ctx.Done():
		}
		summarize(p)
	}
	return nil
}

// summarize prints the usage records, and what is broken or still open.
func summarize(p *platform.Platform) {
	fmt.Println("on record:")
	for _, r := range p.Usage.Records() {
		fmt.Printf("usage %s %s account=%s request=%s", r.OccurredAt.Format(time.RFC3339), r.EventType, r.Account, r.RequestID)
		if outcome, ended := r.Data["outcome"]; ended {
			fmt.Printf(" outcome=%v", outcome)
		}
		fmt.Println()
	}
	for _, breach := range p.Check() {
		fmt.Println("breach", breach)
	}
}
