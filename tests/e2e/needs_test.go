package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// needs makes a test that drives another program wait for a machine that has it. This
// is the only skip of these tests, and it holds nothing back where it counts:
// with CI=true a missing program is a failure, elsewhere a bare machine with
// only Go still passes `go test ./...`.
func needs(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set and %s is not in PATH; install it", name)
	}
	t.Skipf("%s is not in PATH; with CI=true this would be a failure", name)
}
