package containers

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait for another process.
	patience  = time.Minute
	pollEvery = 20 * time.Millisecond
)

// suite is what all tests share.
var suite struct{ directory string } // removed at the end

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	directory, err := os.MkdirTemp("/var/tmp", "bus-vm-containers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	suite.directory = directory
	return m.Run()
}

// inRoot is a path of the repository, absolute.
func inRoot(t testing.TB, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"../.."}, parts...)...))
	require.NoError(t, err)
	return path
}

// run runs a program that must succeed, and returns what it prints.
func run(t testing.TB, command *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), "%s\n%s%s", command, &stdout, &stderr)
	return stdout.String()
}

// eventually polls until ok, and fails the test with what explain says when that
// takes too long.
func eventually(t testing.TB, what string, explain func() string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s\n%s", patience, what, explain())
		case <-tick.C:
		}
	}
}

// logged is what a process writes, readable while it runs.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
