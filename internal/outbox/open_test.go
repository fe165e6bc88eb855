package outbox

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode())
	}
	if o.store.db.NoSync || o.store.db.NoGrowSync {
		t.Error("commits are not synced")
	}
	for range 2 {
		assert.NoError(t, o.Close())
	}
	mustClose(t, mustOpen(t, Config{Dir: dir, Sender: newSink(nil)}))
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
	o := start(t, Config{Dir: dir, Sender: s}, func(o *Outbox) {
		edit(t, o, func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(metaBucket)).Put([]byte("blob"), make([]byte, grown))
		})
		edit(t, o, func(tx *bbolt.Tx) error { return tx.Bucket([]byte(metaBucket)).Delete([]byte("blob")) })
	})
	op := newOperation()
	require.NoError(t, o.Requested(t.Context(), op))
	s.await(t, 1)
	o.stop()
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
	require.NoError(t, err)
	return info.Size()
}

func mustClose(t testing.TB, o *Outbox) {
	t.Helper()
	require.NoError(t, o.Close())
}

func edit(t *testing.T, o *Outbox, change func(tx *bbolt.Tx) error) {
	t.Helper()
	require.NoError(t, o.store.db.Update(change))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(want, " ") {
		t.Errorf("the directory holds %q, want %q", have, want)
	}
}

func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
