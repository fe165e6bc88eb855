// Command stack shows the gateway in events mode at work: it builds it, puts a
// Bus Events API with workers behind it and real nginx in front, walks through
// the life of a runtime with curl, and keeps everything running until Ctrl-C.
// Nothing is left behind: all that it writes is below one temporary directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	once, noNginx         bool
	startTime, stopTime   time.Duration
	nginx, gateway, event string // preferred addresses
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.once, "once", false, "end after the walk instead of running until Ctrl-C")
	flags.BoolVar(&o.noNginx, "no-nginx", false, "leave nginx out and talk to the gateway itself")
	flags.DurationVar(&o.startTime, "start-time", 3*time.Second, "how long the runtime takes to start")
	flags.DurationVar(&o.stopTime, "stop-time", 2*time.Second, "how long the runtime takes to stop")
	flags.StringVar(&o.nginx, "addr", "127.0.0.1:8080", "address of nginx; another port of 127.0.0.1 when it is taken")
	flags.StringVar(&o.gateway, "gateway-addr", "127.0.0.1:8085", "the same for the gateway")
	flags.StringVar(&o.event, "events-addr", "127.0.0.1:8081", "the same for the Events API")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// run brings the stack up, walks through it, and takes it down again.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	s := &stack{options: o}
	defer func() { err = errors.Join(err, s.down()) }()
	err = s.up(ctx)
	if err == nil {
		s.introduce(stdout)
		err = s.walk(ctx, stdout)
	}
	switch {
	case ctx.Err() != nil:
		return nil // interrupted: nothing is wrong
	case err != nil, o.once:
		return err
	}
	s.invite(stdout)
	return s.wait(ctx)
}
