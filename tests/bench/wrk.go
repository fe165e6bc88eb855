package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var (
	//go:embed scripts/report.lua
	reportScript string
	//go:embed scripts/tokens.lua
	tokensScript string
)

// The scripts in the directory of a run; wrk takes one file.
const (
	plainFile  = "plain.lua"
	tokensFile = "tokens.lua"
)

func writeScripts(dir string) {
	for name, text := range map[string]string{plainFile: reportScript, tokensFile: reportScript + tokensScript} {
		check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}

// load is what wrk does to a server.
type load struct {
	token       string // sent with each request; empty for none
	tokens      string // file of tokens to go through instead
	fresh       int    // how many tokens the file has if each may be sent once only; 0 if not
	refused     bool   // every reply must be 400 or above, instead of none
	connections int
	seconds     int
}

// benchConnections is how many keep-alive connections the load has, unless a
// part says otherwise.
const benchConnections = 64

// sample is one turn of one server.
type sample struct {
	requests       int64
	took           time.Duration
	cpu            time.Duration // of the server
	others         float64       // share of the machine used by neither server nor load
	resident       int64         // memory of the server afterwards, in bytes
	p50, p99, p999 time.Duration
}

// perRequest is the server's CPU time for one request, in µs.
func (s sample) perRequest() float64 {
	return float64(s.cpu.Nanoseconds()) / 1e3 / float64(s.requests)
}

// throughput is in requests a second.
func (s sample) throughput() float64 { return float64(s.requests) / s.took.Seconds() }

// drive puts one load on a server and accounts for it.
func (b *bench) drive(ctx context.Context, s *server, l load) sample {
	busyBefore := busyTime()
	before := cpuTime(s.cmd.Process.Pid)
	began := time.Now()
	cmd := wrkCommand(ctx, b.dir, s.url(), l)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run() // on our own core, the load's
	wall := time.Since(began)
	if err != nil {
		check(fmt.Errorf("wrk against %s: %w\n%s", s.name, err, out.String()))
	}
	after := cpuTime(s.cmd.Process.Pid)
	busyAfter := busyTime()
	result, err := readWrk(out.String(), l)
	if err != nil {
		check(fmt.Errorf("%s: %w", s.name, err))
	}
	result.resident = resident(s.cmd.Process.Pid)
	result.cpu = after - before
	ours := result.cpu + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	result.others = max(0, float64(busyAfter-busyBefore-ours)/float64(wall)/float64(runtime.NumCPU()))
	return result
}

func wrkCommand(ctx context.Context, dir, url string, l load) *exec.Cmd {
	connections := cmp.Or(l.connections, benchConnections)
	args := []string{"-t", "1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(l.seconds), "--timeout", "10s"}
	script, extra := plainFile, []string(nil)
	switch {
	case l.tokens != "":
		script, extra = tokensFile, []string{"--", l.tokens}
	case l.token != "":
		args = append(args, "-H", "Authorization: Bearer "+l.token)
	}
	args = append(args, "-s", filepath.Join(dir, script), url)
	return exec.CommandContext(ctx, "wrk", append(args, extra...)...)
}

// readWrk reads the line of report.lua and holds it to what was expected.
func readWrk(out string, l load) (s sample, err error) {
	_, line, found := strings.Cut(out, "bench ")
	var status, failed, micros, p50, p99, p999 int64
	if !found {
		return s, fmt.Errorf("wrk said nothing of its results:\n%s", out)
	}
	if _, err := fmt.Sscan(line, &s.requests, &micros, &status, &failed, &p50, &p99, &p999); err != nil {
		return s, fmt.Errorf("wrk's results %q: %w", line, err)
	}
	s.took = time.Duration(micros) * time.Microsecond
	s.p50, s.p99, s.p999 = time.Duration(p50)*time.Microsecond, time.Duration(p99)*time.Microsecond, time.Duration(p999)*time.Microsecond
	want := int64(0)
	if l.refused {
		want = s.requests
	}
	switch {
	case s.requests == 0:
		return s, fmt.Errorf("no request was answered")
	case failed > 0:
		return s, fmt.Errorf("%d requests failed", failed)
	case status != want:
		return s, fmt.Errorf("%d of %d requests were refused, not %d", status, s.requests, want)
	case l.fresh > 0 && s.requests+benchConnections > int64(l.fresh):
		return s, fmt.Errorf("%d requests used up %d tokens that were to be new", s.requests, l.fresh)
	}
	return s, nil
}
