package store

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// log collects what operators are told.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func configFor(t *testing.T) (Config, *log) {
	l := &log{}
	return Config{
		Records: DeliverRecords, Timeout: 30 * time.Second, LateReply: 2 * time.Minute, Keep: 720 * time.Hour,
		Logger: slog.New(slog.NewTextHandler(l, nil)), Metrics: metrics.NewSet(), Now: time.Now,
	}, l
}

// What SQLite writes to is gone, or another file: nothing counts from then on.
func TestFilesRemovedOrReplaced(t *testing.T) {
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
			config, l := configFor(t)
			config.Dir = filepath.Join(t.TempDir(), "data")
			s := running(t, config)
			insert(t, s, aWrite(lifecycle.Start), Lead)
			harm(t, config.Dir)
			_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Start))
			require.ErrorIs(t, err, ErrUnavailable)
			assert.ErrorIs(t, s.Healthy(), ErrUnavailable)
			assert.Equal(t, 1, strings.Count(l.String(), "does not take writes"), l)
			assert.Contains(t, l.String(), "put the file back")
		})
	}
}

// A store that takes no writes when it ends keeps no caller waiting for them, and
// says what it has lost; one that does writes all that is queued.
func TestEndWithQueuedWrites(t *testing.T) {
	for _, away := range []bool{true, false} {
		config, l := configFor(t)
		config.Dir = filepath.Join(t.TempDir(), "data")
		s, err := Open(t.Context(), config)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		var ids []string
		for range 3 {
			ids = append(ids, insert(t, s, aWrite(lifecycle.Start), Lead).ID)
		}
		if away {
			require.NoError(t, os.RemoveAll(config.Dir))
		}
		for _, id := range ids {
			s.Settle(id, lifecycle.Accepted, false)
		}
		stop()
		select {
		case <-ended: // with an error or not: SQLite closes a file that is gone
		case <-time.After(5 * time.Second):
			t.Fatal("it does not end")
		}
		assert.ErrorIs(t, s.Healthy(), ErrUnavailable)
		assert.Equal(t, away, strings.Contains(l.String(), "did not take all before the end"), l)
		_, err = s.Reply(t.Context(), ids[0], true, End{})
		assert.ErrorIs(t, err, ErrUnavailable)
		assert.NotErrorIs(t, err, ErrUnconfirmed)
		if !away {
			config.Metrics = metrics.NewSet()
			s = running(t, config)
			for _, id := range ids {
				assertLife(t, s, id, lifecycle.Accepted, requested, finished)
			}
		}
	}
}

// A damaged database is set aside with its -wal, and a new one begun.
func TestDamagedDatabase(t *testing.T) {
	config, l := configFor(t)
	config.Dir = t.TempDir()
	path := filepath.Join(config.Dir, fileName)
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	require.NoError(t, os.WriteFile(path+"-wal", []byte("its log"), 0o600))
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Start), Lead)
	aside := s.files.damaged()
	require.Len(t, aside, 1)
	assert.FileExists(t, aside[0]+"-wal")
	assert.Contains(t, l.String(), "set aside")
}

// A database without a byte has lost what it held; to SQLite it is a new one.
func TestEmptyDatabase(t *testing.T) {
	config, _ := configFor(t)
	config.Dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(config.Dir, fileName), nil, 0o600))
	assert.Len(t, running(t, config).files.damaged(), 1)
}

// A process that was killed while it created the database left a journal to be
// rolled back.
func TestKilledWhileCreating(t *testing.T) {
	config, _ := configFor(t)
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
	insert(t, s, aWrite(lifecycle.Start), Lead)
	assert.Empty(t, s.files.damaged())
}

// What is committed is in the database itself once the store is closed; but
// nothing is removed where another store may be by then.
func TestClosedInOrder(t *testing.T) {
	for _, moved := range []bool{false, true} {
		config, _ := configFor(t)
		config.Dir = filepath.Join(t.TempDir(), "data")
		s, err := Open(t.Context(), config)
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		insert(t, s, aWrite(lifecycle.Start), Lead)
		wal := filepath.Join(config.Dir, fileName+"-wal")
		if moved {
			require.NoError(t, os.Rename(config.Dir, config.Dir+"-moved"))
			require.NoError(t, os.Mkdir(config.Dir, 0o700))
			require.NoError(t, os.WriteFile(wal, []byte("of another"), 0o600))
		}
		stop()
		require.NoError(t, <-ended)
		if moved {
			assert.FileExists(t, wal)
		} else {
			assert.NoFileExists(t, wal)
		}
	}
}

func TestDirectoryInUse(t *testing.T) {
	config, _ := configFor(t)
	config.Dir = t.TempDir()
	running(t, config)
	config.Metrics = metrics.NewSet()
	_, err := Open(t.Context(), config)
	assert.ErrorContains(t, err, "in use by another process")
}

func TestNewerSchema(t *testing.T) {
	config, _ := configFor(t)
	config.Dir = t.TempDir()
	s, err := Open(t.Context(), config)
	require.NoError(t, err)
	_, err = s.engine.write.Exec(`update store_schema set version = $1`, schemaVersion+1)
	require.NoError(t, err)
	require.NoError(t, s.release())
	config.Metrics = metrics.NewSet()
	_, err = Open(t.Context(), config)
	assert.ErrorIs(t, err, ErrNewer)
}

// Three replicas set up the schema at once, and share it.
func TestReplicasBegin(t *testing.T) {
	url := postgres.Database(t)
	var stores [3]*Store
	var all sync.WaitGroup
	for i := range stores {
		all.Go(func() {
			config, _ := configFor(t)
			config.URL = url
			s, err := Open(context.Background(), config)
			assert.NoError(t, err)
			stores[i] = s
		})
	}
	all.Wait()
	for _, s := range stores {
		require.NotNil(t, s)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		t.Cleanup(func() { stop(); assert.NoError(t, <-ended) })
	}
	leader := insert(t, stores[0], joining(), Lead)
	follower := insert(t, stores[1], joining(), Joined)
	_, err := stores[2].Reply(t.Context(), leader.ID, true, End{})
	require.NoError(t, err)
	assertLife(t, stores[0], follower.ID, lifecycle.Accepted, requested, finished)

	// All start at once: exactly one leads.
	insert(t, stores[0], aWrite(lifecycle.Stop), Lead)
	var mu sync.Mutex
	decisions := map[Decision]int{}
	for i := range 60 {
		all.Go(func() {
			d, _, err := stores[i%3].Insert(context.Background(), joining())
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			decisions[d]++
		})
	}
	all.Wait()
	assert.Equal(t, map[Decision]int{Lead: 1, Joined: 59}, decisions)
}

// A database that is killed or frozen: writes are refused within 3 s, reads fail,
// what is kept is written when it is back.
func TestDatabaseAway(t *testing.T) {
	for name, c := range map[string]struct{ leave, comeBack func(*postgres.Server) }{
		"killed": {(*postgres.Server).Kill, (*postgres.Server).Run},
		"frozen": {(*postgres.Server).Freeze, (*postgres.Server).Thaw},
	} {
		t.Run(name, func(t *testing.T) {
			config, l := configFor(t)
			server := postgres.Start(t)
			config.URL = server.Database()
			s := running(t, config)
			op := insert(t, s, aWrite(lifecycle.Start), Lead)
			c.leave(server)
			began := time.Now()
			_, err := s.Reply(t.Context(), op.ID, true, End{})
			require.ErrorIs(t, err, ErrUnconfirmed)
			_, _, err = s.Insert(t.Context(), aWrite(lifecycle.Start))
			require.ErrorIs(t, err, ErrUnavailable)
			assert.Less(t, time.Since(began), 5*time.Second)
			eventually(t, func() bool { return s.Healthy() != nil }, "the store is not healthy")
			began = time.Now()
			_, _, err = s.Insert(t.Context(), aWrite(lifecycle.Start))
			require.ErrorIs(t, err, ErrUnavailable)
			assert.NotErrorIs(t, err, ErrUnconfirmed, "nothing was sent to it")
			assert.Less(t, time.Since(began), time.Second)
			c.comeBack(server)
			eventually(t, func() bool {
				op, err := s.Find(t.Context(), op.ID)
				return err == nil && op.Outcome == lifecycle.Accepted
			}, "the reply is written")
			eventually(t, func() bool { return s.Healthy() == nil }, "the store is healthy again")
			insert(t, s, aWrite(lifecycle.Start), Lead)
			assert.Equal(t, 1, strings.Count(l.String(), "does not take writes"), l)
		})
	}
}

// A store that failed and has nothing to write finds out by itself that it can
// again, and reads the replies that it may have missed.
func TestStoreHealsWithoutCalls(t *testing.T) {
	config, _ := configFor(t)
	server := postgres.Start(t)
	config.URL = server.Database()
	read := make(chan struct{}, 1)
	config.History = func(context.Context) error { wake(read); return nil }
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Start), Lead)
	server.Kill()
	_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Start)) // and no Abandon: nothing is kept
	require.ErrorIs(t, err, ErrUnavailable)
	server.Run()
	eventually(t, func() bool { return s.Healthy() == nil }, "the store is healthy again")
	eventually(t, func() bool { return len(read) > 0 }, "the history is read")
	insert(t, s, aWrite(lifecycle.Start), Lead)
}

// A replica that sets up the schema slowly, or sets up a large one, keeps no other
// from starting.
func TestReplicaWaitsForTheSchema(t *testing.T) {
	config, _ := configFor(t)
	config.URL = postgres.Database(t)
	other, err := openPostgres(config.URL)
	require.NoError(t, err)
	defer func() { assert.NoError(t, other.close()) }()
	setup, err := other.write.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = setup.Exec(other.lock[len(other.lock)-1])
	require.NoError(t, err)
	opened := make(chan error, 1)
	go func() {
		s, err := Open(context.Background(), config)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	for waiting := 0; waiting == 0; {
		require.NoError(t, other.read.QueryRow(`select count(*) from pg_locks where locktype = 'advisory' and not granted`).Scan(&waiting))
	}
	select {
	case err := <-opened:
		t.Fatal(err)
	case <-time.After(4 * lockTimeout): // that it does not give up meanwhile is the point
	}
	require.NoError(t, setup.Commit())
	assert.NoError(t, <-opened)
}

// A record is written while another replica acknowledges the one before it.
func TestAcknowledgedWhileTheEndIsWritten(t *testing.T) {
	config, _ := configFor(t)
	config.URL = postgres.Database(t)
	s := running(t, config)
	op := insert(t, s, aWrite(lifecycle.Start), Lead)
	other, err := s.engine.read.Begin()
	require.NoError(t, err)
	_, err = other.Exec(`update operations set sent = 1 where id = $1 and sent = 0`, op.ID)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { _, err := s.Reply(context.Background(), op.ID, true, End{}); ended <- err }()
	eventually(t, func() bool {
		var waiting int
		require.NoError(t, s.engine.read.QueryRow(`select count(*) from pg_locks where not granted`).Scan(&waiting))
		return waiting > 0 || len(ended) > 0
	}, "it waits or is written")
	require.NoError(t, other.Commit())
	require.NoError(t, <-ended)
	row, err := s.Find(t.Context(), op.ID)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 1}, []int{row.records, row.sent})
	assert.NotZero(t, row.dueAt)
}

// A store that is told to stop while its database is away does not wait for it.
func TestStopWhileTheDatabaseIsAway(t *testing.T) {
	config, l := configFor(t)
	server := postgres.Start(t)
	config.URL = server.Database()
	s, err := Open(t.Context(), config)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	op := insert(t, s, aWrite(lifecycle.Start), Lead)
	server.Kill()
	_, err = s.Reply(t.Context(), op.ID, true, End{}) // is kept
	require.ErrorIs(t, err, ErrUnconfirmed)
	stop()
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(5 * callTimeout):
		t.Fatal("it does not end")
	}
	assert.Contains(t, l.String(), "did not take all before the end")
}

// Locks that another replica holds longer than a lock is waited for only delay
// what needs them.
func TestLocksOfAnotherReplica(t *testing.T) {
	config, _ := configFor(t)
	config.URL = postgres.Database(t)
	s := running(t, config)
	op := insert(t, s, aWrite(lifecycle.Start), Lead)
	for name, write := range map[string]func() error{
		"reply":  func() error { _, err := s.Reply(context.Background(), op.ID, true, End{}); return err },
		"insert": func() error { _, _, err := s.Insert(context.Background(), aWrite(lifecycle.Stop)); return err }, // frees the slot of op
	} {
		t.Run(name, func(t *testing.T) {
			other, err := s.engine.read.Begin()
			require.NoError(t, err)
			_, err = other.Exec(`select 1 from operations where id = $1 for update`, op.ID)
			require.NoError(t, err)
			written := make(chan error, 1)
			go func() { written <- write() }()
			time.Sleep(3 * lockTimeout) // how long the other holds it is the point
			require.NoError(t, other.Commit())
			assert.NoError(t, <-written)
		})
	}
}

// A gateway that starts while the database is away serves, and sets it up later.
func TestOpenWhileTheDatabaseIsAway(t *testing.T) {
	config, l := configFor(t)
	server := postgres.Start(t)
	config.URL = server.Database()
	server.Kill()
	s := running(t, config)
	_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Start))
	require.ErrorIs(t, err, ErrUnavailable)
	assert.Contains(t, l.String(), "the database of operations does not answer")
	server.Run()
	eventually(t, func() bool {
		_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Start))
		return err == nil
	}, "writes are taken")
}
