// Package cli is the command line: it parses, runs the command, prints and
// turns every outcome into an exit code. What serving means is handed in.
package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/doctor"
	"github.com/busdk/bus-api-provider-vm/internal/logqueue"
)

// Name is the binary, as users and the platform's dispatcher call it.
const Name = "bus-api-provider-vm"

// The exit codes.
const (
	ExitOK      = 0
	ExitRuntime = 1 // something failed while running
	ExitUsage   = 2 // flags, environment or file are wrong; to run again is of no use
)

// Env is the world around the command line.
type Env struct {
	Environ        []string // as os.Environ
	Stdout, Stderr io.Writer
	Log            *logqueue.Writer // Stderr once Main runs: what does not take it holds up nothing
	Now            func() time.Time
	Hangup         <-chan os.Signal // SIGHUP; nil for none

	// Serve runs the service until ctx ends. A *config.Error in its error is a
	// matter of usage, every other error one of running.
	Serve func(ctx context.Context, c *config.Config, env Env) error
	// Examine looks at everything that serving with c would need, and at the
	// file nginxConf, empty for none. Its error is like that of Serve.
	Examine func(ctx context.Context, c *config.Config, nginxConf string) (doctor.Report, error)
	// ManageUsage lists, retries or drops parked usage records, and returns the
	// result as JSON; what it logs goes to logTo.
	ManageUsage func(ctx context.Context, c *config.Config, logTo io.Writer, command, eventID string) (json.RawMessage, error)
	OpenAPI     []byte // the description of the API
}

// lastWords bounds how long the end of the process waits for what is still to be
// written to Stderr.
const lastWords = time.Second / 4

// Main runs the command in args (without the name of the program) and returns
// the exit code. A failure makes one message on Stderr.
func Main(ctx context.Context, args []string, env Env) int {
	env.Log = logqueue.New(env.Stderr)
	env.Stderr = env.Log
	defer env.Log.Close(lastWords)
	line := parse(args)
	err := line.run(ctx, env)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(env.Stderr, "%s: %v\n", Name, err)
	if wrong, ok := errors.AsType[*config.Error](err); ok && !wrong.MayPass() {
		about := Name
		if line.command.Name != Name {
			about += " " + line.command.Name
		}
		fmt.Fprintf(env.Stderr, "See %s --help.\n", about)
		return ExitUsage
	}
	return ExitRuntime
}

// run obeys the platform's global flags, then the command. Help and version win
// over everything else, since they are asked for when something is wrong.
func (l *line) run(ctx context.Context, env Env) (err error) {
	switch {
	case l.on("--help"):
		return printHelp(env.Stdout, l.command)
	case l.on("--version"):
		return runVersion(ctx, l, env)
	case l.command.keep == nil && len(l.wrong.Problems) > 0:
		return l.wrong.OrNil() // commands that read settings report them with it
	}
	if dir := l.text("--chdir"); dir != "" {
		if err := os.Chdir(dir); err != nil {
			return cmp.Or(l.wrong.OrNil(), fmt.Errorf("--chdir: %w", err))
		}
	}
	// Questions are answered however quiet, since they are asked to see the answer.
	question := l.command.Name == "help" || l.command.Name == "version" || l.on("--print-config")
	switch path := l.text("--output"); {
	case l.on("--quiet") && !question:
		env.Stdout = io.Discard
	case path != "" && (len(l.wrong.Problems) == 0 || l.command.Name == "doctor"): // whose report says what is wrong
		file, failed := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, cmp.Or(l.command.mode, 0o666))
		if failed != nil {
			return cmp.Or(l.wrong.OrNil(), fmt.Errorf("--output: %w", failed))
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		env.Stdout = file
	}
	return l.command.run(ctx, l, env)
}

// printWarnings is for commands that end at once; serving logs them. It says too
// what was found.
func printWarnings(w io.Writer, c *config.Config) {
	if c.Found != "" {
		fmt.Fprintf(w, "%s: found %s\n", Name, c.Found)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(w, "%s: warning: %s\n", Name, warning)
	}
}
