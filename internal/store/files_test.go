package store

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// A process that was killed while it created the database left a journal to be
// rolled back.
func TestKilledWhileCreating(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.Dir = t.TempDir()
	from := filepath.Join(t.TempDir(), "db")
	db, err := sql.Open("sqlite", "file:"+from)
	require.NoError(t, err)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	for _, statement := range []string{
		"create table t (x)", "insert into t values (zeroblob(100000))", "pragma cache_size = 1",
		"begin", "update t set x = randomblob(100000)", "insert into t values (randomblob(1000000))",
	} {
		_, err := conn.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	for _, suffix := range []string{"", "-journal"} {
		content, err := os.ReadFile(from + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(config.Dir, fileName+suffix), content, 0o600))
	}
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
	assert.Empty(t, s.files.damaged())
}

// What is committed is in the database itself once the store is closed; but
// nothing is removed where another store may be by then.
func TestClosedInOrder(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		config, _ := configFor()
		config.Dir = filepath.Join(t.TempDir(), "data")
		s, end := begin(t, config)
		insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
		wal := filepath.Join(config.Dir, fileName+"-wal")
		if moved {
			require.NoError(t, os.Rename(config.Dir, config.Dir+"-moved"))
			require.NoError(t, os.Mkdir(config.Dir, 0o700))
			require.NoError(t, os.WriteFile(wal, []byte("of another"), 0o600))
		}
		require.NoError(t, end())
		if moved {
			assert.FileExists(t, wal)
		} else {
			assert.NoFileExists(t, wal)
		}
	}
}

// What comes while the files are away is told of once they are back.
func TestFilesAreBack(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.Dir = filepath.Join(t.TempDir(), "data")
	told := make(chan lifecycle.Receipt, 100)
	config.Changed = func(r lifecycle.Receipt, _ bool) { told <- r }
	s := running(t, config)
	w := aWrite(lifecycle.Stop)
	insert(t, s, w, lifecycle.Lead)
	require.Empty(t, harness.Next(t, told).Outcome)
	ended := make(chan lifecycle.Receipt, 1)
	go func() { r, _ := s.Await(t.Context(), w.ID, ""); ended <- r }()
	awaitWaiter(t, s, w.ID)
	require.NoError(t, os.Rename(config.Dir, config.Dir+"-moved"))
	s.Settle(w.ID, nil, nil)
	eventually(t, func() bool { return s.Healthy() != nil }, "it is noticed")
	require.NoError(t, os.Rename(config.Dir+"-moved", config.Dir))
	require.Equal(t, lifecycle.Accepted, harness.Next(t, ended).Outcome)
	require.Equal(t, lifecycle.Accepted, harness.Next(t, told).Outcome)
}

// A data directory on a network file system is refused, since its lock would count for one
// machine alone. That of the test stands for one; no other test runs beside this one.
func TestNetworkDisk(t *testing.T) {
	config, _ := configFor()
	config.Dir = t.TempDir()
	var disk syscall.Statfs_t
	require.NoError(t, syscall.Statfs(config.Dir, &disk))
	were := networkDisks
	defer func() { networkDisks = were }()
	networkDisks = append(slices.Clone(were), uint32(disk.Type))
	_, err := Open(t.Context(), config)
	require.ErrorContains(t, err, "network file system")
	require.ErrorContains(t, err, "--data-dir")
	require.NoFileExists(t, filepath.Join(config.Dir, fileName))
}

// The -wal that grew under a long reader, such as a copy that is made, gives its room back.
func TestLogShrinks(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.Dir = t.TempDir()
	db := prepared(t, config)
	s := running(t, config)
	size := func() int64 {
		info, err := os.Stat(filepath.Join(config.Dir, fileName+"-wal"))
		require.NoError(t, err)
		return info.Size()
	}
	reader := holding(t, db, `select count(*) from operations`)
	for range logLimit/1_000_000 + 1 {
		alter(t, s, `insert into operations (id, error_message) values (hex(randomblob(16)), hex(zeroblob(500000)))`)
	}
	require.Greater(t, size(), int64(logLimit))
	require.NoError(t, reader.Rollback())
	for range 3 {
		require.NoError(t, tryInsert(t, s))
	}
	assert.LessOrEqual(t, size(), int64(logLimit))
}
