// Package bus runs this module as the platform's own tools do: the command of
// its compose stack, make, lines of .bus files, and profiles of bus services.
package bus

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root = "../.."
	name = "bus-api-provider-vm"
	// secret is the published one of the platform's local stack.
	secret = "not-a-secret-local-development-hs256-key"
)

var checkout string // a copy of the tracked files, without git's own

func TestMain(m *testing.M) {
	os.Exit(func() int {
		directory, err := os.MkdirTemp("", "bus-vm-checkout-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(directory)
		checkout = directory
		return m.Run()
	}())
}

// copied fills the checkout, once.
var copied = sync.OnceValue(func() error {
	listed, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for _, file := range strings.FieldsFunc(string(listed), func(r rune) bool { return r == 0 }) {
		info, err := os.Stat(filepath.Join(root, file))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		} else if err != nil {
			return err
		}
		if err := copyFile(file, info.Mode()); err != nil {
			return err
		}
	}
	return nil
})

func copyFile(file string, mode fs.FileMode) error {
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return err
	}
	target := filepath.Join(checkout, file)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, text, mode)
}

// command runs a line of a shell in the checkout, in an environment of nothing
// but what Go needs and env.
func command(t testing.TB, env []string, line string) *exec.Cmd {
	t.Helper()
	require.NoError(t, copied())
	c := exec.Command("sh", "-ec", line)
	c.Dir = checkout
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
