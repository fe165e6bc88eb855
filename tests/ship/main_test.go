//go:build ship

package ship

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

const (
	name       = "bus-api-provider-vm"
	moduleRoot = "../.."
	secret     = "the secret of the shipping tests, 44 bytes long"
)

// onlyChild is the process that a wrapper such as strace started.
func onlyChild(t testing.TB, parent int) *os.Process {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	require.NoError(t, err)
	var id int
	_, err = fmt.Sscan(string(text), &id)
	require.NoError(t, err)
	child, err := os.FindProcess(id)
	require.NoError(t, err)
	return child
}

func TestMain(m *testing.M) { harness.Main(m, 0, func() error { return nil }) }

// inRoot is a path of the repository, absolute.
func inRoot(t testing.TB, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{moduleRoot}, parts...)...))
	require.NoError(t, err)
	return path
}

// built is the binary for this machine that `just package` or `just release` built.
func built(t testing.TB) string { return inRoot(t, "dist", "linux_"+runtime.GOARCH, name) }

// packaged is the .deb of the same.
func packaged(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob(inRoot(t, "dist", name+"_*_"+runtime.GOARCH+".deb"))
	require.NoError(t, err)
	require.Len(t, found, 1, "run `just package` first")
	return found[0]
}

// output runs a program that must succeed, and returns what it writes.
func output(t testing.TB, program string, args ...string) string {
	t.Helper()
	said, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", program, strings.Join(args, " "), said)
	return string(said)
}

// unpacked is a directory with the files of the package.
func unpacked(t testing.TB) string {
	t.Helper()
	directory := t.TempDir()
	output(t, "dpkg-deb", "-x", packaged(t), directory)
	return directory
}
