package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// smallDisk returns a directory and a function that fills its disk or frees it
// again. The disk is a real one of 1 MB where mounting is allowed, as it must
// be in CI; elsewhere the fault is made above the disk.
func smallDisk(t *testing.T) (dir string, prepare func(*Outbox), full func(bool)) {
	t.Helper()
	dir = t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700")
	if err == nil {
		t.Cleanup(func() {
			// Lazily: an outbox that did not stop must not leave a mount behind.
			assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH))
		})
		return dir, func(*Outbox) {}, func(full bool) { fill(t, filepath.Join(dir, "ballast"), full) }
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("the disk-full test needs to mount a tmpfs: %v", err)
	}
	t.Logf("no mount (%v): the full disk is simulated", err)
	disk := &faultyDisk{}
	return dir, disk.attach, disk.fill
}

// fill takes every byte that is left on a disk, or gives them back.
func fill(t *testing.T, path string, full bool) {
	t.Helper()
	if !full {
		require.NoError(t, os.Remove(path))
		return
	}
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	dir, prepare, full := smallDisk(t)
	s := newSink(nil)
	o := start(t, Config{Dir: dir, Sender: s}, prepare)
	var open []lifecycle.Operation
	begin := func() error {
		op := newOperation()
		err := o.Requested(t.Context(), op)
		if err == nil {
			open = append(open, op)
		}
		return err
	}
	for range 10 {
		require.NoError(t, begin())
	}
	s.await(t, 10)

	// The file has some free pages of its own, so a few more may succeed.
	full(true)
	var err error
	for err == nil && len(open) < 10_000 {
		err = begin()
	}
	wantCannotWrite(t, syscall.ENOSPC, "Requested", err)
	wantCannotWrite(t, syscall.ENOSPC, "Healthy", o.Healthy())
	for _, op := range open {
		wantCannotWrite(t, syscall.ENOSPC, "Ended", o.Ended(op, lifecycle.Accepted, time.Second))
	}
	wantCannotWrite(t, syscall.ENOSPC, "Requested", begin())

	full(false)
	s.await(t, 2*len(open))
	assert.NoError(t, o.Healthy(), "not healthy after space was freed")
	o.pair(newOperation(), lifecycle.Accepted)
	s.await(t, 2*len(open)+2)
	checkPairs(t, s, open)
	for _, record := range s.records() {
		assert.Contains(t, []lifecycle.Outcome{"", lifecycle.Accepted}, record.Data.Outcome)
	}
}

// A start that has no room for a copy of the file uses it as it is.
func TestStartWithoutRoomForACopy(t *testing.T) {
	dir, ops := backlog(t, 3)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, freshName, "in the way"), 0o700))
	var log bytes.Buffer
	s := newSink(nil)
	start(t, Config{Dir: dir, Sender: s, Logger: logTo(&log)})
	s.await(t, 6)
	checkPairs(t, s, ops)
	assert.Contains(t, log.String(), "could not be copied at start")
}

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
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, dir)
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
	defer func() { require.NoError(t, syscall.Setfsuid(0)) }()
	return f()
}
