package e2e

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// process is one run of a program.
type process struct {
	command        *exec.Cmd
	stdout, stderr *harness.Output
	ended          chan struct{} // closed once command.ProcessState is set
}

// launch starts a program in an environment of nothing but env, in a directory
// of its own, with open files from descriptor 3 on. The test must see it end.
func launch(t testing.TB, files []*os.File, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{exec.Command(path, args...), &harness.Output{}, &harness.Output{}, make(chan struct{})}
	logged.watch(p.stderr)
	p.command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"GORACE=atexit_sleep_ms=0", // else a binary with the race detector ends a second late
	}, env...)
	p.command.Dir = t.TempDir()
	p.command.ExtraFiles = files
	p.command.Stdout, p.command.Stderr = p.stdout, p.stderr
	require.NoError(t, p.command.Start())
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // its outcome stands in ProcessState
	}()
	t.Cleanup(func() {
		if !p.hasEnded() {
			t.Errorf("%s was left running: %s", path, p.stderr)
			_ = p.command.Process.Kill()
			<-p.ended
		}
	})
	return p
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
}

// wait returns the exit code, -1 after a deadly signal.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(harness.WaitLimit):
		t.Fatalf("still running after %s: %s", harness.WaitLimit, p.stderr)
	}
	return p.command.ProcessState.ExitCode()
}

// result is everything that a short command leaves behind.
type result struct {
	Code           int
	Stdout, Stderr string
}

// run waits for a command that ends by itself.
func run(t testing.TB, env []string, args ...string) result {
	t.Helper()
	p := launch(t, nil, env, harness.Gateway(t), args...)
	return result{p.wait(t), p.stdout.String(), p.stderr.String()}
}

// servingLine is the one log line that says where a gateway listens.
var servingLine = regexp.MustCompile(`msg"?[=:]"?serving.*?addr"?[=:]"?([^" \n]+)`)

// gateway is a serving process.
type gateway struct {
	*process
	addr string // host:port or the path of a unix socket
}

// serve starts a gateway with the test secret on a free port, at debug level,
// and waits until it listens. Later entries of env win, and so do flags.
func serve(t testing.TB, env []string, args ...string) *gateway {
	t.Helper()
	return await(t, begin(t, env, args...))
}

// await waits until a gateway says where it listens.
func await(t testing.TB, g *gateway) *gateway {
	t.Helper()
	g.addr = g.says(t, servingLine)
	return g
}

// says waits for a line on standard error, and returns what its first group is.
func (p *process) says(t testing.TB, line *regexp.Regexp) string {
	t.Helper()
	var match []string
	harness.Eventually(t, line.String(), func() bool {
		ended := p.hasEnded() // looked up first: its last words count
		match = line.FindStringSubmatch(p.stderr.String())
		return match != nil || ended
	}, p.stderr)
	require.NotNil(t, match, "it ended instead of saying %s: %s", line, p.stderr)
	return match[1]
}

// begin is serve without waiting.
func begin(t testing.TB, env []string, args ...string) *gateway {
	t.Helper()
	env = append([]string{
		"BUS_VM_JWT_SECRET=" + jwtSecret,
		"BUS_VM_ADDR=127.0.0.1:0",
		"BUS_VM_LOG_LEVEL=debug",
	}, env...)
	g := &gateway{process: launch(t, nil, env, harness.Gateway(t), args...)}
	t.Cleanup(func() { g.stop(t) })
	return g
}

// stop ends the gateway and expects that it ends well. Once it has ended, it
// does nothing.
func (g *gateway) stop(t testing.TB) {
	t.Helper()
	if !g.hasEnded() {
		g.signal(t, syscall.SIGTERM)
		require.Equal(t, 0, g.wait(t), "%s", g.stderr)
	}
}

// The main thread is kept for the first goroutine, which waits: no file system holds it,
// and so the kernel, which gives it SIGTERM, finds it free.
func TestMainThreadIsFree(t *testing.T) {
	t.Parallel()
	_, admin := serveAdmin(t, []string{"BUS_VM_ADMIN_PPROF=1"})
	_, goroutines := harness.Get(t, admin, "/debug/pprof/goroutine?debug=2", "")
	require.Regexp(t, `(?m)^goroutine 1 .*\[select, locked to thread\]`, goroutines)
}
