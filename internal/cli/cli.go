// Package cli is the command line: it parses, dispatches, prints and turns
// every outcome into an exit code. What serving means is handed in.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/version"
)

// Name is the binary, as users and the platform's dispatcher call it.
const Name = "bus-api-provider-vm"

// The exit codes.
const (
	ExitOK      = 0
	ExitRuntime = 1 // something failed while running
	ExitUsage   = 2 // flags, environment or file are wrong
)

// Env is the world around the command line.
type Env struct {
	Environ        []string // as os.Environ
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Hangup         <-chan os.Signal // SIGHUP; nil for none

	// What the commands do beyond the command line.
	Serve   Serve
	Examine Examine
}

// Serve runs the service until ctx ends. A *config.Error in its error is a
// matter of usage, every other error one of running.
type Serve func(ctx context.Context, c *config.Config, env Env) error

// Main runs the command in args (without the name of the program) and returns
// the exit code. A failure makes one message on Stderr.
func Main(ctx context.Context, args []string, env Env) int {
	err := dispatch(ctx, args, env)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(env.Stderr, "%s: %v\n", Name, err)
	var usage *config.Error
	if errors.As(err, &usage) {
		about := Name
		if len(args) > 0 {
			if c, named := commandNamed(args[0]); named {
				about += " " + c.name
			}
		}
		fmt.Fprintf(env.Stderr, "See %s --help.\n", about)
		return ExitUsage
	}
	return ExitRuntime
}

// dispatch takes a first argument that is no flag for a command; without one the
// service is started. Flags before a command are refused as an argument too many.
func dispatch(ctx context.Context, args []string, env Env) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return runServe(ctx, args, env)
	}
	switch args[0] {
	case "token":
		return runToken(args[1:], env)
	case "doctor":
		return runDoctor(ctx, args[1:], env)
	case "help":
		return runHelp(args[1:], env)
	case "version":
		return runVersion(args[1:], env)
	}
	return unknownCommand(args[0])
}

func unknownCommand(name string) error {
	return config.Refuse("", fmt.Sprintf("unknown command %q; the commands are token, doctor, help and version", name))
}

// runVersion is the command; --version is a flag of serving.
func runVersion(args []string, env Env) error {
	flags := newFlagSet(versionCommand())
	if err := config.ParseFlags(flags, args); err != nil {
		return err
	}
	if isSet(flags, "help") {
		return printHelp(env.Stdout, versionCommand())
	}
	return printVersion(env.Stdout)
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s %s (%s)\n", Name, version.String(), version.Platform())
	return err
}

// printWarnings is for commands that end at once; serving logs them.
func printWarnings(w io.Writer, c *config.Config) {
	for _, warning := range c.Warnings {
		fmt.Fprintf(w, "%s: warning: %s\n", Name, warning)
	}
}
