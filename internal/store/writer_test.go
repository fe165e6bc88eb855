package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// A store that takes no writes when it ends keeps no caller waiting for them, and
// says what it has lost; one that does writes all that is queued.
func TestEndWithQueuedWrites(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{true, false} {
		config, l := configFor()
		config.Dir = filepath.Join(t.TempDir(), "data")
		s, end := begin(t, config)
		var ids []string
		for range 3 {
			ids = append(ids, insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead).ID)
		}
		if away {
			require.NoError(t, os.RemoveAll(config.Dir))
		}
		for _, id := range ids {
			s.Settle(id, nil, nil)
		}
		began := time.Now()
		_ = end() // with an error or not: SQLite closes a file that is gone
		assert.Less(t, time.Since(began), 3*callTimeout)
		assert.ErrorIs(t, s.Healthy(), ErrUnavailable)
		assert.Equal(t, away, strings.Contains(l.String(), "did not take all before the end"), l)
		_, err := s.Reply(t.Context(), ids[0], true, End{})
		assert.ErrorIs(t, err, ErrUnavailable)
		assert.NotErrorIs(t, err, lifecycle.ErrUnconfirmed)
		if !away {
			config.Metrics = metrics.NewSet()
			s = running(t, config)
			for _, id := range ids {
				assertLife(t, s, id, lifecycle.Accepted, requested, finished)
			}
		}
	}
}

// A store ends in time although a row that it has to write stays locked.
func TestEndWhileARowIsLocked(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	s, end := begin(t, config)
	w := aWrite(lifecycle.Stop)
	insert(t, s, w, lifecycle.Lead)
	holding(t, connect(t, config), `select 1 from operations for update`)
	s.Settle(w.ID, nil, nil)
	assert.NoError(t, end())
}

// A store that is told to stop while its database is away does not wait for it.
func TestStopWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	server := postgres.Start(t)
	config.URL = server.Database()
	s, end := begin(t, config)
	op := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
	server.Kill()
	_, err := s.Reply(t.Context(), op.ID, true, End{}) // is kept
	require.ErrorIs(t, err, lifecycle.ErrUnconfirmed)
	assert.NoError(t, end())
	assert.Contains(t, l.String(), "did not take all before the end")
}

// A table that is locked for long is told, and /readyz says so.
func TestLockedForLong(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	config.URL = postgres.Database(t)
	s := running(t, config)
	require.NoError(t, tryInsert(t, s))
	holding(t, connect(t, config), `lock table operations in share mode`) // create index, a dump with locks, a migration by hand
	for range 4 {
		assert.Error(t, tryInsert(t, s))
	}
	assert.Error(t, s.Healthy())
	assert.Contains(t, l.String(), "does not take writes")
}

// Locks that another replica holds longer than a lock is waited for only delay
// what needs them.
func TestLocksOfAnotherReplica(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t)
	op := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
	for name, write := range map[string]func() error{
		"reply":  func() error { _, err := s.Reply(context.Background(), op.ID, true, End{}); return err },
		"insert": func() error { return tryInsert(t, s) }, // frees the slot of op
	} {
		t.Run(name, func(t *testing.T) {
			other := holding(t, db, `select 1 from operations where id = $1 for update`, op.ID)
			written := make(chan error, 1)
			go func() { written <- write() }()
			time.Sleep(3 * lockTimeout) // how long the other holds it is the point
			require.NoError(t, other.Commit())
			assert.NoError(t, <-written)
		})
	}
}

// Sessions that the server has ended are opened again before a caller is refused, and
// are no reason to end with an error.
func TestEndedSession(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	db := prepared(t, config)
	config.Idle = true // nothing else writes meanwhile
	s := running(t, config)
	for range 2 {
		require.NoError(t, tryInsert(t, s))
		execute(t, db, `select pg_terminate_backend(pid, 10000) from pg_stat_activity
			where pid <> pg_backend_pid() and backend_type = 'client backend' and datname = current_database()`)
	}
}

// A long history, which is told again, does not keep callers from writing.
func TestHistoryDoesNotDelayWrites(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
		ctx, enough := context.WithCancel(t.Context())
		told := make(chan struct{})
		go func() {
			defer close(told)
			for range 60_000 { // replies to operations of last week
				if ctx.Err() != nil {
					return
				}
				s.Settle(uuid.NewString(), nil, func() {})
			}
		}()
		select {
		case <-told:
		case <-time.After(300 * time.Millisecond): // what is queued would pile up for so long
		}
		for range 5 { // within callTimeout
			assert.NoError(t, tryInsert(t, s))
		}
		enough()
		<-told
	})
}

// A database that takes less in the time of a transaction than waits to be written
// gets less at once, until all is written.
func TestBatchesShrink(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t,
		`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.01); return new; end'`,
		`create trigger slow before insert on operations for each row execute function slow()`)
	const many = 250 // more than one transaction can take
	var group sync.WaitGroup
	for range many {
		group.Go(func() { _, _ = s.Abandon(context.Background(), uuid.NewString()) })
	}
	group.Wait()
	eventually(t, func() bool {
		var written int
		require.NoError(t, db.QueryRow(`select count(*) from operations`).Scan(&written))
		return written == many
	}, "all are written")
	eventually(t, func() bool { return tryInsert(t, s) == nil }, "it takes writes again")
}
