// Package e2e drives the built binary from outside, as operators and callers
// do: flags, environment and files, sockets and raw bytes, signals, nginx.
//
// Everything runs at debug level, and at the end all that was logged is
// searched for the secrets and tokens that were used.
//
//	E2E_RACE=1   build the binary with the race detector
//	CI=true      a missing program (nginx, curl, prometheus, promtool, strace, chromium, python3, node) is a failure instead of a skip
package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// moduleRoot is where `go build` finds the program.
const moduleRoot = "../.."

// logged is what all processes logged.
var logged logs

func TestMain(m *testing.M) {
	logged.keepOut(jwtSecret)
	logged.keepOut(providerToken)
	harness.Main(m, 6, func() error {
		if found := logged.leaks(); len(found) > 0 {
			return errors.New("in a log: " + strings.Join(found, "\nin a log: "))
		}
		return nil
	})
}

// built is the binary under test.
var built = sync.OnceValues(func() (binary string, err error) {
	if err := declareSources(); err != nil {
		return "", err
	}
	binary = filepath.Join(harness.Directory(), "bus-api-provider-vm")
	return binary, build(moduleRoot, binary)
})

func program(t testing.TB) string {
	t.Helper()
	binary, err := built()
	require.NoError(t, err)
	return binary
}

// build compiles the main package in directory, with the race detector when
// E2E_RACE=1.
func build(directory, binary string, flags ...string) error {
	if os.Getenv("E2E_RACE") == "1" {
		flags = append(flags, "-race")
	}
	return harness.Build(directory, binary, flags...)
}

// declareSources reads every directory of the product, so that `go test` knows
// them as inputs of these tests: it sees what a test opens, but not what a
// compiler does for it, and would show a cached result of another binary.
func declareSources() error {
	return filepath.WalkDir(moduleRoot, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == ".git" {
			return filepath.SkipDir
		}
		return err
	})
}

// logs are the logs of all processes, and what must not stand in them.
type logs struct {
	mu      sync.Mutex
	outputs []*harness.Output
	secrets []string
}

// watch adds an output to what is searched at the end.
func (l *logs) watch(o *harness.Output) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outputs = append(l.outputs, o)
}

// keepOut names a text that must not be logged.
func (l *logs) keepOut(text string) {
	// Shorter ones, such as the token "x", stand everywhere by chance.
	const telling = 8
	if len(text) < telling {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, text)
}

// leaks says what was found, without repeating it.
func (l *logs) leaks() (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outputs {
		found = append(found, harness.Leaks(o.String(), l.secrets...)...)
	}
	return found
}
