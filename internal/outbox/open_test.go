package outbox

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
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
	assert.False(t, o.store.db.NoSync || o.store.db.NoGrowSync, "commits are not synced")
	for range 2 {
		assert.NoError(t, o.Close())
	}
	mustClose(t, mustOpen(t, Config{Dir: dir, Sender: newSink(nil)}))
}

func TestSecondProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, Config{Dir: dir, Sender: newSink(nil)})
	out, err := child(t, "open", dir).CombinedOutput()
	require.Error(t, err, "a second process opened the directory")
	assert.Contains(t, string(out), dir+" is in use by another process")
	assert.Contains(t, string(out), "--data-dir")
	mustClose(t, o)
	out, err = child(t, "open", dir).CombinedOutput()
	assert.NoError(t, err, string(out))
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
	require.ErrorContains(t, err, "its schema is 2, this release knows up to 1")
	assert.True(t, bytes.Equal(before, read(t, filepath.Join(dir, fileName))), "the file was changed")
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
	before := len(read(t, filepath.Join(dir, fileName)))
	start(t, Config{Dir: dir, Sender: s})
	s.await(t, 2)
	checkPairs(t, s, []lifecycle.Operation{op})
	assert.GreaterOrEqual(t, before, grown)
	assert.Less(t, len(read(t, filepath.Join(dir, fileName))), before/100)
	wantFiles(t, dir, fileName, lockName)
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
	assert.Equal(t, want, have)
}

func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
