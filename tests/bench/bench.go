package main

import (
	"context"
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
	run    func(*bench, context.Context)
}

var parts = []part{
	{"warm", false, (*bench).warm},
	{"cold", false, (*bench).cold},
	{"refused", false, (*bench).refused},
	{"memory", false, (*bench).connections},
	{"flat", false, (*bench).flatMemory},
	{"startup", false, (*bench).startup},
	{"events", false, (*bench).eventsStatus},
	{"waits", false, (*bench).waits},
	{"writes", false, (*bench).writes},
	{"by-connections", true, (*bench).growConnections},
	{"by-tokens", true, (*bench).growTokens},
	{"by-writes", true, (*bench).growWrites},
}

// selectParts returns the parts of a report: all of them, or only those named.
func selectParts(growth bool, only string) (chosen []part) {
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
		check(fmt.Errorf("parts are %s, not %s", strings.Join(names, ","), only))
	}
	return chosen
}

// failure is an error that ends the run: check throws it, caught catches it, so
// that a measurement reads as what it does. It does not cross goroutines.
type failure struct{ error }

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

// caught returns what run failed with.
func caught(run func()) (err error) {
	defer func() {
		thrown := recover()
		if failed, ok := thrown.(failure); ok {
			err = failed.error
		} else if thrown != nil {
			panic(thrown)
		}
	}()
	run()
	return nil
}

// newBench looks for the tools, builds the programs and moves itself to the
// core of the load.
func newBench(ctx context.Context, o options) *bench {
	b := &bench{
		options: o, began: time.Now(), dir: must(os.MkdirTemp("", "bus-vm-bench-")), mint: newMint(), missing: map[string]bool{},
	}
	err := caught(func() {
		b.checkTools()
		b.build(ctx)
		writeScripts(b.dir)
		if err := pinSelf(o.loadCore); err != nil {
			check(fmt.Errorf("pin to core %d: %w; choose others with -server-core and -load-core", o.loadCore, err))
		}
		b.report = newReport(describeMachine(ctx), o)
	})
	if err != nil {
		b.close()
		check(err)
	}
	return b
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

func (b *bench) checkTools() {
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err == nil {
			continue
		}
		if t.peer == "" {
			check(fmt.Errorf("%s is missing (%s)", t.program, t.install))
		}
		b.missing[t.peer] = true
		b.say("%s is missing (%s); going on without it", t.program, t.install)
	}
}

// build builds the gateway and the peers with the flags of `just build`.
func (b *bench) build(ctx context.Context) {
	b.say("building …")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.dir+"/", ".", "./tests/bench/peers/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		check(fmt.Errorf("build (run it from the root of the repository): %w\n%s", err, out))
	}
}
