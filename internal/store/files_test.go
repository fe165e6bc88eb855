package store

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// What SQLite writes to is gone, or another file: nothing counts from then on.
func TestFilesRemovedOrReplaced(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, dir string){
		"the database removed":  func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, fileName))) },
		"its -wal removed":      func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, fileName+"-wal"))) },
		"the directory removed": func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) },
		"the directory moved":   func(t *testing.T, dir string) { require.NoError(t, os.Rename(dir, dir+"-moved")) },
		"the database replaced": func(t *testing.T, dir string) {
			path := filepath.Join(dir, fileName)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path+".new", content, 0o600))
			require.NoError(t, os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, l := configFor()
			config.Dir = filepath.Join(t.TempDir(), "data")
			s := running(t, config)
			insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
			harm(t, config.Dir)
			_, _, err := s.insert(t.Context(), aWrite(lifecycle.Start))
			require.ErrorIs(t, err, ErrUnavailable)
			assert.ErrorIs(t, s.Healthy(), ErrUnavailable)
			assert.Equal(t, 1, strings.Count(l.String(), "does not take writes"), l)
			assert.Contains(t, l.String(), "put the file back")
		})
	}
}

// A damaged database is set aside with its -wal, and a new one begun.
func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	config.Dir = t.TempDir()
	path := filepath.Join(config.Dir, fileName)
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	require.NoError(t, os.WriteFile(path+"-wal", []byte("its log"), 0o600))
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
	aside := s.files.damaged()
	require.Len(t, aside, 1)
	assert.FileExists(t, aside[0]+"-wal")
	assert.Contains(t, l.String(), "set aside")
}

// A database without a byte has lost what it held; to SQLite it is a new one.
func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.Dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(config.Dir, fileName), nil, 0o600))
	assert.Len(t, running(t, config).files.damaged(), 1)
}

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

func TestDirectoryInUse(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.Dir = t.TempDir()
	running(t, config)
	config.Metrics = metrics.NewSet()
	_, err := Open(t.Context(), config)
	assert.ErrorContains(t, err, "in use by another process")
}
