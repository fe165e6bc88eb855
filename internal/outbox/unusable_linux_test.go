package outbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an operator reads when the directory is no good names it and the way out.
func TestUnusableDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		want string
	}{
		"a file": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		}, "not a directory"},
		"read-only": {func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(dir, 0o555))
		}, "permission denied"},
		"parent read-only": {func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(filepath.Dir(dir), 0o555))
		}, "permission denied"},
		"file of another user": {func(t *testing.T, dir string) {
			mustClose(t, mustOpen(t, Config{Dir: dir, Sender: newSink(nil)}))
			for path, mode := range map[string]os.FileMode{
				dir: 0o777, filepath.Join(dir, lockName): 0o666, filepath.Join(dir, fileName): 0o000,
			} {
				require.NoError(t, os.Chmod(path, mode))
			}
		}, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "data")
			// Others may come as far as parent.
			require.NoError(t, os.Chmod(filepath.Dir(parent), 0o755))
			t.Cleanup(func() { _ = errors.Join(os.Chmod(parent, 0o700), os.Chmod(dir, 0o700)) })
			c.make(t, dir)
			_, err := asUser(t, func() (*Outbox, error) { return Open(Config{Dir: dir, Sender: newSink(nil)}) })
			if err == nil {
				t.Fatal("it opened")
			}
			for _, want := range []string{c.want, dir} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// asUser calls f with file access of an ordinary user, also when the tests
// run as root. The file system's view of the user belongs to the thread.
func asUser(t *testing.T, f func() (*Outbox, error)) (*Outbox, error) {
	t.Helper()
	if os.Getuid() != 0 {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, syscall.Setfsuid(65534))
	defer func() {
		if err := syscall.Setfsuid(0); err != nil {
			panic(err)
		}
	}()
	return f()
}
