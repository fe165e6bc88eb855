package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// bench is one run of the benchmark.
type bench struct {
	options
	began   time.Time
	dir     string // programs, scripts and tokens of this run
	mint    *mint
	missing map[string]bool // peers whose program is not installed
	report  *report
}

// part is something that can be measured by itself.
type part struct {
	name   string
	growth bool // of the report on growth
	run    func(*bench, context.Context) error
}

var parts = []part{
	{"warm", false, (*bench).warm},
	{"cold", false, (*bench).cold},
	{"refused", false, (*bench).refused},
	{"memory", false, (*bench).connections},
	{"flat", false, (*bench).flatMemory},
	{"startup", false, (*bench).startup},
	{"events", false, (*bench).eventsStatus},
	{"writes", false, (*bench).writes},
	{"by-connections", true, (*bench).growConnections},
	{"by-tokens", true, (*bench).growTokens},
	{"by-writes", true, (*bench).growWrites},
}

// selectParts returns the parts of a report: all of them, or only those named.
func selectParts(growth bool, only string) (chosen []part, err error) {
	var names []string
	for _, p := range parts {
		if p.growth == growth {
			names = append(names, p.name)
			if only == "" || slices.Contains(strings.Split(only, ","), p.name) {
				chosen = append(chosen, p)
			}
		}
	}
	if only != "" && len(chosen) != len(strings.Split(only, ",")) {
		return nil, fmt.Errorf("parts are %s, not %s", strings.Join(names, ","), only)
	}
	return chosen, nil
}

// newBench looks for the tools, builds the programs and moves itself to the
// core of the load.
func newBench(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, began: time.Now(), mint: newMint(), missing: map[string]bool{}}
	if b.dir, err = os.MkdirTemp("", "bus-vm-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := errors.Join(b.checkTools(), b.build(ctx), writeScripts(b.dir)); err != nil {
		return nil, err
	}
	if err := pinSelf(o.loadCore); err != nil {
		return nil, fmt.Errorf("pin to core %d: %w; choose others with -server-core and -load-core", o.loadCore, err)
	}
	machine, err := describeMachine(ctx)
	if err != nil {
		return nil, err
	}
	b.report = newReport(machine, o)
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// tools are the programs a run needs; those of a peer may be missing.
var tools = []struct{ program, install, peer string }{
	{"go", "Go from https://go.dev/dl", ""},
	{"wrk", "apt-get install wrk", ""},
	{"haproxy", "apt-get install haproxy", haproxyPeer},
	{"nginx", "apt-get install nginx-light", nginxPeer},
}

func (b *bench) checkTools() error {
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err == nil {
			continue
		}
		if t.peer == "" {
			return fmt.Errorf("%s is missing (%s)", t.program, t.install)
		}
		b.missing[t.peer] = true
		b.say("%s is missing (%s); going on without it", t.program, t.install)
	}
	return nil
}

// build builds the gateway and the peers with the flags of `just build`.
func (b *bench) build(ctx context.Context) error {
	b.say("building …")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.dir+"/", ".", "./tests/bench/peers/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build (run it from the root of the repository): %w\n%s", err, out)
	}
	return nil
}
