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
)

// process is one run of a program.
type process struct {
	command        *exec.Cmd
	stdout, stderr *output
	ended          chan struct{} // closed once command.ProcessState is set
}

// launch starts a program in an environment of nothing but env, in a directory
// of its own. The test must see it end.
func launch(t testing.TB, env []string, path string, args ...string) *process {
	t.Helper()
	return launchWith(t, nil, env, path, args...)
}

// launchWith is launch with open files, from descriptor 3 on.
func launchWith(t testing.TB, files []*os.File, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{stdout: &output{}, stderr: &output{}, ended: make(chan struct{})}
	suite.logged.watch(p.stderr)
	p.command = exec.Command(path, args...)
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
	err := p.command.Process.Signal(s)
	if !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
}

// waitFor returns the exit code, -1 after a deadly signal.
func (p *process) waitFor(t testing.TB, limit time.Duration) int {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		t.Fatalf("still running after %s: %s", limit, p.stderr)
	}
	return p.command.ProcessState.ExitCode()
}

// diedOf is the signal that ended the process, 0 for none.
func (p *process) diedOf() syscall.Signal {
	status := p.command.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return 0
	}
	return status.Signal()
}

// result is everything that a short command leaves behind.
type result struct {
	Code           int
	Stdout, Stderr string
}

// run waits for a command that ends by itself.
func run(t testing.TB, env []string, args ...string) result {
	t.Helper()
	p := launch(t, env, program(t), args...)
	defer func() {
		if !p.hasEnded() {
			_ = p.command.Process.Kill()
			<-p.ended
		}
	}()
	return result{p.waitFor(t, waitLimit), p.stdout.String(), p.stderr.String()}
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
	eventually(t, "a line that says where it serves", func() bool {
		if match := servingLine.FindStringSubmatch(g.stderr.String()); match != nil {
			g.addr = match[1]
			return true
		}
		return g.hasEnded()
	})
	require.NotEmpty(t, g.addr, "it ended instead of serving: %s", g.stderr)
	return g
}

// begin is serve without waiting.
func begin(t testing.TB, env []string, args ...string) *gateway {
	t.Helper()
	env = append([]string{
		"BUS_VM_JWT_SECRET=" + jwtSecret,
		"BUS_VM_ADDR=127.0.0.1:0",
		"BUS_VM_LOG_LEVEL=debug",
	}, env...)
	g := &gateway{process: launch(t, env, program(t), args...)}
	t.Cleanup(func() { g.stop(t) })
	return g
}

// stop ends the gateway and expects that it ends well. Once it has ended, it
// does nothing.
func (g *gateway) stop(t testing.TB) {
	t.Helper()
	if g.hasEnded() {
		return
	}
	g.signal(t, syscall.SIGTERM)
	require.Equal(t, 0, g.waitFor(t, waitLimit), "%s", g.stderr)
}
