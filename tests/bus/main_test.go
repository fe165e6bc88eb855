// Package bus runs this module as the platform's own tools do: the command of
// its compose stack, make, lines of .bus files, and profiles of bus services.
package bus

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

const (
	root = "../.."
	name = "bus-api-provider-vm"
	// secret is the published one of the platform's local stack.
	secret = "not-a-secret-local-development-hs256-key"
)

func TestMain(m *testing.M) { harness.Main(m, 0, func() error { return nil }) }

// copied fills the checkout, a copy of the tracked files without git's own, once. A file that was deleted and is not committed
// yet is left out.
var copied = sync.OnceValue(func() error {
	if err := harness.Sources(); err != nil {
		return err
	}
	const copying = `cd "$0" && git ls-files -z | tar --null --ignore-failed-read -cT - | tar -xC "$1"`
	said, err := exec.Command("sh", "-c", copying, root, harness.Directory()).CombinedOutput()
	if _, missing := os.Stat(harness.Directory() + "/go.mod"); err != nil || missing != nil {
		return fmt.Errorf("copy the checkout: %w\n%s", err, said)
	}
	return nil
})

// command runs a line of a shell in the checkout, in an environment of nothing
// but what Go needs and env.
func command(t testing.TB, env []string, line string) *exec.Cmd {
	t.Helper()
	require.NoError(t, copied())
	c := exec.Command("sh", "-ec", line)
	c.Dir = harness.Directory()
	// The checkout is in another directory each time, which -trimpath keeps out of
	// the build cache.
	c.Env = []string{"GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOFLAGS=-trimpath"}
	for _, key := range []string{"PATH", "HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY"} {
		if value, ok := os.LookupEnv(key); ok {
			c.Env = append(c.Env, key+"="+value)
		}
	}
	c.Env = append(c.Env, env...)
	return c
}

// printed is what a command that has to succeed prints.
func printed(t testing.TB, c *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	c.Stderr = &stderr
	stdout, err := c.Output()
	require.NoError(t, err, "%s\n%s%s", c, stdout, &stderr)
	return string(stdout)
}

// serve runs a command until the test ends and waits until it listens on addr.
func serve(t testing.TB, c *exec.Cmd, addr string) {
	t.Helper()
	logged := &harness.Output{}
	c.Stdout, c.Stderr = logged, logged
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run passes no signal on
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		_ = c.Wait() // until the last of the group has closed the log
	})
	harness.Eventually(t, c.String()+" listens on "+addr, func() bool {
		connection, err := net.Dial("tcp", addr)
		return err == nil && connection.Close() == nil
	}, logged)
}

// get returns the body of a reply that has to be 200.
func get(t testing.TB, addr, path, token string) string {
	t.Helper()
	status, body := harness.Get(t, addr, path, token)
	require.Equal(t, 200, status, body)
	return body
}
