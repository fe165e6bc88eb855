package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/app"
	"github.com/busdk/bus-api-provider-vm/internal/cli"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// gateway is one life of the gateway: as a goroutine of this process, or as a
// process of its own. Both are driven in the same way, by environment, stderr
// and exit code.
type gateway struct {
	t         *testing.T
	home      string // its directory: lives in one home follow each other
	data      string // its data directory
	addr      string
	admin     *http.Client
	log       *output
	interrupt func() // asks it to end, as SIGTERM does
	kill      func() // of a process: kill -9
	pid       int    // of a process
	killed    atomic.Bool
	ended     chan struct{}
	code      int // once ended is closed; -1 after a signal
}

// kind is how a gateway runs.
type kind bool

const (
	within  kind = true
	process kind = false
)

// launch starts a gateway with nothing but env, without waiting for it.
func launch(t *testing.T, k kind, home string, env []string) *gateway {
	t.Helper()
	g := newGateway(t, home, env)
	env = append([]string{"BUS_VM_ADDR=127.0.0.1:0", adminAddr(home)}, env...)
	if k == within {
		ctx, cancel := context.WithCancel(context.Background())
		g.interrupt, g.kill = cancel, cancel
		go func() {
			defer close(g.ended)
			defer cancel()
			g.code = cli.Main(ctx, nil, cli.Env{Environ: env, Stdout: io.Discard, Stderr: g.log, Now: time.Now, Serve: app.Serve})
		}()
		return g
	}
	command := exec.Command(harness.Gateway(t))
	command.Env, command.Stderr = env, g.log
	g.run(command)
	return g
}

// newGateway is one that does not run yet.
func newGateway(t *testing.T, home string, env []string) *gateway {
	g := &gateway{
		t: t, home: home, log: &output{}, ended: make(chan struct{}),
		admin: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return harness.Dial(ctx, filepath.Join(home, "admin.sock"))
			},
		}},
	}
	for _, entry := range env {
		if dir, ok := strings.CutPrefix(entry, "BUS_VM_DATA_DIR="); ok {
			g.data = dir
		}
	}
	return g
}

// adminAddr is the setting of the admin listener of what runs in home.
func adminAddr(home string) string {
	return "BUS_VM_ADMIN_ADDR=unix:" + filepath.Join(home, "admin.sock")
}

// run starts it as a process.
func (g *gateway) run(command *exec.Cmd) {
	g.t.Helper()
	command.Dir = g.home
	require.NoError(g.t, command.Start())
	g.pid = command.Process.Pid
	// Both are too late for a process that has ended.
	g.interrupt = func() { _ = command.Process.Signal(syscall.SIGTERM) }
	g.kill = func() { g.killed.Store(true); _ = command.Process.Kill() }
	go func() {
		defer close(g.ended)
		_ = command.Wait() // its outcome is the exit code
		g.code = command.ProcessState.ExitCode()
	}()
}

var (
	servingLine  = regexp.MustCompile(`msg=serving .*? addr=(\S+)`)
	drainingLine = regexp.MustCompile(`msg=draining`)
)

// serving waits until it listens; false means that it ended instead.
func (g *gateway) serving() bool {
	g.t.Helper()
	match := g.awaitLog(servingLine)
	if match != nil {
		g.addr = match[1]
	}
	return match != nil
}

// awaitLog waits until a line of the log matches, or it has ended without one.
func (g *gateway) awaitLog(pattern *regexp.Regexp) (match []string) {
	eventually(func() bool {
		ended := g.hasEnded() // looked up first: its last words count
		match = pattern.FindStringSubmatch(g.log.all())
		return match != nil || ended
	})
	return match
}

func (g *gateway) hasEnded() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// wait returns the exit code.
func (g *gateway) wait() int {
	g.t.Helper()
	ctx, cancel := patiently()
	defer cancel()
	select {
	case <-g.ended:
	case <-ctx.Done():
		g.kill()
		g.t.Fatalf("the gateway did not end:\n%s", g.log)
	}
	return g.code
}

// stop ends it in order.
func (g *gateway) stop() {
	g.t.Helper()
	g.interrupt()
	assert.Zero(g.t, g.wait(), "exit code:\n%s", g.log)
}

// metric reads one value from the admin listener; ok is false while there is
// none.
func (g *gateway) metric(name string) (value float64, ok bool) {
	return harness.Metric(g.look("/metrics"), name)
}

// look reads a page of the admin listener; empty while there is none.
func (g *gateway) look(path string) string {
	reply, err := g.admin.Get("http://localhost" + path)
	if err != nil {
		return ""
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// awaitMetric waits until a metric is what is wanted.
func (g *gateway) awaitMetric(name string, holds func(float64) bool) {
	g.t.Helper()
	var last float64
	ok := eventually(func() bool {
		value, ok := g.metric(name)
		last = value
		return ok && holds(value)
	})
	require.True(g.t, ok, "%s stays %v:\n%s", name, last, g.log)
}

func zero(v float64) bool { return v == 0 }
func one(v float64) bool  { return v == 1 }

// suspend stops a process where it is, as SIGSTOP, a debugger or a paused
// machine does. It returns once the process has stopped.
func (g *gateway) suspend() {
	g.t.Helper()
	require.NoError(g.t, syscall.Kill(g.pid, syscall.SIGSTOP))
	require.True(g.t, eventually(func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	}), "the gateway did not stop")
}

// resume lets a suspended process go on.
func (g *gateway) resume() {
	g.t.Helper()
	require.NoError(g.t, syscall.Kill(g.pid, syscall.SIGCONT))
}

// get asks for a page without a token.
func (g *gateway) get(path string) answer {
	return exchange(g.addr, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

// ready is the status of /readyz.
func (g *gateway) ready() int { return g.get("/readyz").status }

func (g *gateway) wantLog(text string) {
	g.t.Helper()
	assert.True(g.t, strings.Contains(g.log.all(), text), "no %q in the log:\n%s", text, g.log)
}

func (g *gateway) awaitReady() {
	g.t.Helper()
	require.True(g.t, eventually(func() bool { return g.ready() == http.StatusOK }), "not ready:\n%s", g.log)
}

// output collects what a gateway writes.
type output struct{ harness.Output }

func (o *output) all() string { return o.Output.String() }

// String is the end of it, for the messages of failed tests.
func (o *output) String() string {
	const bytes = 6000
	text := o.all()
	if len(text) > bytes {
		return fmt.Sprintf("… %d bytes …\n%s", len(text)-bytes, text[len(text)-bytes:])
	}
	return text
}

// lastWords are the lines that are no log records: what the command itself
// says when it ends.
func (o *output) lastWords() (lines []string) {
	for line := range strings.Lines(o.all()) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
