package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run of the benchmark.
type bench struct {
	options
	stderr  io.Writer
	began   time.Time
	dir     string // programs, scripts and tokens of this run
	mint    *mint
	missing map[string]bool // peers whose program is not installed
	report  *report
}

// part is something that can be measured by itself.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

var parts = []part{
	{"warm", (*bench).warm},
	{"cold", (*bench).cold},
	{"refused", (*bench).refused},
	{"memory", (*bench).connections},
	{"flat", (*bench).flatMemory},
	{"startup", (*bench).startup},
	{"events", (*bench).eventsStatus},
	{"writes", (*bench).writes},
}

var growthParts = []part{
	{"by-connections", (*bench).growConnections},
	{"by-tokens", (*bench).growTokens},
	{"by-writes", (*bench).growWrites},
}

func partNames() (names []string) {
	for _, p := range slices.Concat(parts, growthParts) {
		names = append(names, p.name)
	}
	return names
}

func selectParts(o options) ([]part, error) {
	all := parts
	if o.growth {
		all = growthParts
	}
	if o.only == "" {
		return all, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no part %q here; parts are %s", name, strings.Join(partNames(), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// newBench looks for the tools, builds the programs and moves itself to the
// core of the load.
func newBench(ctx context.Context, o options, stderr io.Writer) (_ *bench, err error) {
	b := &bench{options: o, stderr: stderr, began: time.Now(), mint: newMint(), missing: map[string]bool{}}
	if b.dir, err = os.MkdirTemp("", "bus-vm-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := b.checkTools(); err != nil {
		return nil, err
	}
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	if err := writeScripts(b.dir); err != nil {
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
	fmt.Fprintf(b.stderr, "%5.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// tools are the programs a run needs; those of a peer may be missing.
var tools = []struct{ program, install, peer string }{
	{"go", "Go from https://go.dev/dl", ""},
	{"wrk", "apt-get install wrk", ""},
	{"haproxy", "apt-get install haproxy", haproxyPeer},
	{"nginx", "apt-get install nginx-light", nginxPeer},
}

func (b *bench) checkTools() error {
	var needed []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err == nil {
			continue
		}
		text := fmt.Sprintf("%s is missing (%s)", t.program, t.install)
		if t.peer == "" {
			needed = append(needed, text)
			continue
		}
		b.missing[t.peer] = true
		b.say("%s; going on without it", text)
	}
	if needed != nil {
		return fmt.Errorf("%s", strings.Join(needed, "; "))
	}
	return nil
}

// build builds the gateway and the peers with the flags of `just build`.
func (b *bench) build(ctx context.Context) error {
	b.say("building …")
	for program, pkg := range map[string]string{
		gateway:      ".",
		fasthttpBin:  "./tests/bench/peers/fasthttp",
		fiberBin:     "./tests/bench/peers/fiber",
		fiberJWTBin:  "./tests/bench/peers/fiberjwt",
		netHTTPBin:   "./tests/bench/peers/nethttp",
		busClientBin: "./tests/bench/peers/busclient",
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(b.dir, program), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s (run it from the root of the repository): %w\n%s", pkg, err, out)
		}
	}
	return nil
}
