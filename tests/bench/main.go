// Command bench measures the gateway beside its peers: bare fasthttp, bare
// Fiber, Fiber with plain contrib/jwt, net/http, HAProxy and nginx, all
// answering the same bytes.
//
//	just bench           the tables of docs/bench/status.md and their picture, in about six minutes
//	just bench-quick     the same in a minute and a half, printed only
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
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options is what can be chosen on the command line, and what -quick makes less.
type options struct {
	serverCore, loadCore int

	rounds  int // of each comparison; writes take half
	seconds int // of one turn of one server
	flat    int // requests of the part that watches memory, a fifth of them with new tokens
	idle    int // connections of the part on idle memory
	growth  bool
	beside  string // the program of another build, whose writes are measured as well
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := caught(func() { run(ctx) }); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) {
	o := options{flat: 1_000_000, idle: 10_000}
	flag.IntVar(&o.serverCore, "server-core", 0, "core the servers run on")
	flag.IntVar(&o.loadCore, "load-core", 1, "core the load runs on")
	flag.IntVar(&o.rounds, "rounds", 11, "rounds of each comparison")
	flag.IntVar(&o.seconds, "seconds", 1, "turn of one server in a round")
	flag.BoolVar(&o.growth, "growth", false, "measure cost as work grows, in place of everything else")
	flag.StringVar(&o.beside, "beside", "", "program of another build to measure the writes of as well")
	only := flag.String("only", "", "parts to run, comma-separated, and to print only; empty for all")
	out := flag.String("out", "docs/bench", "directory to write the report to; empty to print it only")
	quick := flag.Bool("quick", false, "a minute and a half, coarse, printed only")
	if flag.Parse(); flag.NArg() > 0 {
		check(fmt.Errorf("unexpected argument %q", flag.Arg(0)))
	}
	if o.serverCore == o.loadCore {
		check(errors.New("server and load need a core each"))
	}
	if *quick {
		o.rounds, o.seconds, o.flat, o.idle, *out = 2, 1, 50_000, 2000, ""
	}
	if *only != "" {
		*out = "" // a report of some parts does not take the place of one of all
	}
	selected := selectParts(o.growth, *only)
	b := newBench(ctx, o)
	defer b.close()
	for _, p := range selected {
		began := time.Now()
		b.say("%s …", p.name)
		if err := caught(func() { p.run(b, ctx) }); err != nil {
			check(fmt.Errorf("%s: %w", p.name, err))
		}
		b.say("%s took %s", p.name, time.Since(began).Round(100*time.Millisecond))
	}
	check(b.report.publish(*out))
}
