package outbox

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "outbox")
	o := mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
	for path, want := range map[string]os.FileMode{
		dir:                          os.ModeDir | 0o700,
		filepath.Join(dir, fileName): 0o600,
		filepath.Join(dir, lockName): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != want {
			t.Errorf("%s: mode %s, want %s", path, got, want)
		}
	}
	if o.store.db.NoSync || o.store.db.NoGrowSync {
		t.Error("commits are not synced")
	}
	for range 2 {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	mustClose(t, mustOpen(t, Config{Dir: dir, Sender: newSink(nil)}))
}

// What an operator reads when the directory is no good names it and the way out.
func TestUnusableDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		want string
	}{
		"a file": {func(t *testing.T, dir string) {
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
		"read-only": {func(t *testing.T, dir string) {
			if err := os.Mkdir(dir, 0o555); err != nil {
				t.Fatal(err)
			}
		}, "permission denied"},
		"parent read-only": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Dir(dir), 0o555); err != nil {
				t.Fatal(err)
			}
		}, "permission denied"},
		"file of another user": {func(t *testing.T, dir string) {
			mustClose(t, mustOpen(t, Config{Dir: dir, Sender: newSink(nil)}))
			for path, mode := range map[string]os.FileMode{
				dir: 0o777, filepath.Join(dir, lockName): 0o666, filepath.Join(dir, fileName): 0o000,
			} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
		}, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "data")
			// Others may come as far as parent.
			if err := os.Chmod(filepath.Dir(parent), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = errors.Join(os.Chmod(parent, 0o700), os.Chmod(dir, 0o700)) })
			c.make(t, dir)
			_, err := asNobody(t, func() (*Outbox, error) { return Open(Config{Dir: dir, Sender: newSink(nil)}) })
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

// asNobody calls f with file access of an ordinary user, also when the tests
// run as root. The file system's view of the user belongs to the thread.
func asNobody(t *testing.T, f func() (*Outbox, error)) (*Outbox, error) {
	t.Helper()
	if os.Getuid() != 0 {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setfsuid(0); err != nil {
			panic(err)
		}
	}()
	return f()
}

func TestSecondProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
	out, err := child(t, "open", dir).CombinedOutput()
	if err == nil {
		t.Fatal("a second process opened the directory")
	}
	if text := string(out); !strings.Contains(text, dir+" is in use by another process") || !strings.Contains(text, "--data-dir") {
		t.Errorf("it says %q", text)
	}
	mustClose(t, o)
	if out, err := child(t, "open", dir).CombinedOutput(); err != nil {
		t.Errorf("after the first has gone: %v: %s", err, out)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
	edit(t, o, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(metaBucket)).Put([]byte(schemaKey), []byte("2"))
	})
	mustClose(t, o)
	before := read(t, filepath.Join(dir, fileName))
	_, err := Open(Config{Dir: dir, Sender: newSink(nil)})
	if err == nil || !strings.Contains(err.Error(), "its schema is 2, this release knows up to 1") {
		t.Fatalf("got %v", err)
	}
	if !bytes.Equal(before, read(t, filepath.Join(dir, fileName))) {
		t.Error("the file was changed")
	}
	wantFiles(t, dir, fileName, lockName)
}

// A file that has grown in an outage and is empty again is small after a start.
func TestStartShrinksTheFile(t *testing.T) {
	const grown = 16 << 20
	dir, s := t.TempDir(), newSink(nil)
	o := mustOpen(t, Config{Dir: dir, Sender: s})
	blob := func(change func(b *bbolt.Bucket) error) {
		edit(t, o, func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(metaBucket))) })
	}
	blob(func(b *bbolt.Bucket) error { return b.Put([]byte("blob"), make([]byte, grown)) })
	blob(func(b *bbolt.Bucket) error { return b.Delete([]byte("blob")) })
	r := run(t, o)
	op := newOperation()
	if err := o.Requested(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	s.await(t, 1)
	r.stop()
	before := size(t, dir)
	start(t, Config{Dir: dir, Sender: s})
	s.await(t, 2)
	checkPairs(t, s, []lifecycle.Operation{op})
	if after := size(t, dir); before < grown || after > before/100 {
		t.Errorf("the file had %d bytes, and %d after the start", before, after)
	}
	wantFiles(t, dir, fileName, lockName)
}

func size(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func mustClose(t testing.TB, o *Outbox) {
	t.Helper()
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, o *Outbox, change func(tx *bbolt.Tx) error) {
	t.Helper()
	if err := o.store.db.Update(change); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(want, " ") {
		t.Errorf("the directory holds %q, want %q", have, want)
	}
}

func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
