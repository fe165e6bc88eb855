// Command bench measures the gateway beside its peers: bare fasthttp, bare
// Fiber, Fiber with plain contrib/jwt, net/http, HAProxy and nginx, all
// answering the same bytes.
//
//	just bench           the table of docs/bench/status.md, in about five minutes
//	just bench-quick     the same in less than one, printed only
//	just bench-growth    cost against connections and tokens
//
// The figure that counts is the server's own CPU time per request, as the
// scheduler accounts for it: on a shared machine it is far steadier than
// throughput. Servers run on one core and the load on another; they take turns
// within each round, and ratios are formed within a round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options is what can be chosen on the command line.
type options struct {
	serverCore, loadCore int

	rounds  int // of each comparison; writes take half
	seconds int // of one turn of one server
	flat    int // requests of the part that watches memory
	idle    int // connections of the part on idle memory
	growth  bool
	only    string // the parts to run, comma-separated; empty for all
	out     string // directory of the report; empty to print it only
}

// quicken makes for a run of less than a minute.
func (o *options) quicken() {
	o.rounds, o.seconds, o.flat, o.idle, o.out = 2, 1, 50_000, 2000, ""
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{serverCore: 0, loadCore: 1}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.serverCore, "server-core", o.serverCore, "core the servers run on")
	flags.IntVar(&o.loadCore, "load-core", o.loadCore, "core the load runs on")
	flags.IntVar(&o.rounds, "rounds", 11, "rounds of each comparison")
	flags.IntVar(&o.seconds, "seconds", 1, "turn of one server in a round")
	flags.IntVar(&o.flat, "flat", 1_000_000, "requests of the part that watches memory, a fifth of them with new tokens")
	flags.IntVar(&o.idle, "idle", 10_000, "idle connections of the part that looks at their memory")
	flags.BoolVar(&o.growth, "growth", false, "measure cost as work grows, in place of everything else")
	flags.StringVar(&o.only, "only", "", "parts to run: "+strings.Join(partNames(), ", "))
	flags.StringVar(&o.out, "out", "docs/bench", "directory to write the report to")
	quick := flags.Bool("quick", false, "less than a minute, coarse, printed only")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.serverCore == o.loadCore {
		return o, errors.New("server and load need a core each")
	}
	if *quick {
		o.quicken()
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	selected, err := selectParts(o)
	if err != nil {
		return err
	}
	for _, p := range selected {
		began := time.Now()
		b.say("%s …", p.name)
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.say("%s took %s", p.name, time.Since(began).Round(100*time.Millisecond))
	}
	return b.report.publish(stdout, o.out)
}
