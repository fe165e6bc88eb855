package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// atOnce runs the calls so that they share a transaction.
func atOnce(t *testing.T, s *Store, calls ...func()) {
	t.Helper()
	gate, writing := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		assert.NoError(t, s.do(t.Context(), call{}, func(*tx) { close(writing); <-gate }))
	})
	<-writing
	for _, each := range calls {
		all.Go(each)
	}
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.queue) >= len(calls)
	}, "all are queued")
	close(gate)
	all.Wait()
}

// Rows that other replicas have locked hold up the calls that need them, and are no
// failure of the store, whatever else is written between.
func TestLocksOfOthers(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	config.URL = postgres.Database(t)
	s := running(t, config)
	var ids []string
	for range 3 {
		ids = append(ids, insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead).ID)
	}
	slices.Sort(ids)
	db := connect(t, config)
	other := holding(t, db, `update operations set attempts = 0 where id in ($1, $2)`, ids[0], ids[2])
	var replies []func()
	for _, id := range ids {
		replies = append(replies, func() { s.Settle(id, nil, nil) })
	}
	atOnce(t, s, replies...)
	awaitLock(t, db)
	time.Sleep(3 * lockTimeout) // so long are they held
	require.NoError(t, other.Rollback())
	for _, id := range ids {
		awaitOutcome(t, s, id, lifecycle.Accepted)
	}
	assert.NotContains(t, l.String(), "does not take writes")
}

// A slow database is given nothing for callers who have left: those who come after them
// are served.
func TestCrowdHasLeft(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t,
		`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.03); return new; end'`,
		`create trigger slow before insert on operations for each row execute function slow()`)
	const crowd = 400
	var left sync.WaitGroup
	for range crowd {
		left.Go(func() { _ = tryInsert(t, s) })
	}
	left.Wait()
	assert.NoError(t, tryInsert(t, s))
	var rows int
	require.NoError(t, db.QueryRow(`select count(*) from operations`).Scan(&rows))
	assert.Less(t, rows, crowd/2)
}

// Many operations past their time, on a slow database, hold up no write for long.
func TestManyExpireSlowly(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t,
		`insert into operations (id, action, account, request_id, requested_at, closes_at, records, due_since)
			select gen_random_uuid()::text, 'stop', 'a', 'r', 1, 2, 1, 1 from generate_series(1, 600)`,
		`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.005); return new; end'`,
		`create trigger slow before update on operations for each row execute function slow()`)
	eventually(t, func() bool {
		var open int
		require.NoError(t, db.QueryRow(`select count(*) from operations where outcome = ''`).Scan(&open))
		return open == 0
	}, "all are closed")
	assert.NoError(t, tryInsert(t, s))
}

// A session for reads that hangs holds up no write, and none of its locks.
func TestLookHangs(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
	db := connect(t, config)
	stopped := map[int]bool{}
	stop := func() { // every session that reads; that of the writer rests after a commit only
		rows, err := db.Query(`select pid from pg_stat_activity where datname = current_database() and state = 'idle' and query like '%select%from operations%' and pid <> pg_backend_pid()`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var pid int
			require.NoError(t, rows.Scan(&pid))
			if !stopped[pid] && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				stopped[pid] = true
				t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
			}
		}
	}
	for until := time.Now().Add(8 * observeEvery); time.Now().Before(until); {
		stop()
		require.NoError(t, tryInsert(t, s)) // within callTimeout
	}
}

// Claims of a slow database leave the others their time.
func TestClaimsInParts(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	config.Logger = slog.New(slog.NewTextHandler(l, nil))
	config.URL = postgres.Database(t)
	prepared(t, config, `insert into operations (id, action, account, outcome, requested_at, ended_at, records, due_since, due_at)
		select gen_random_uuid()::text, 'stop', 'acc' || n, 'accepted', 1, 1, 1, 1, 1 from generate_series(1, 120) as n`,
		`create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.02); return new; end'`,
		`create trigger slow before update on operations for each row when (new.sent = old.sent) execute function slow()`)
	s := running(t, config)
	delivering(t, s, &receiver{answer: func(context.Context, sending) error { return nil }})
	require.Eventually(t, func() bool {
		var waiting int
		assert.NoError(t, tryInsert(t, s))
		assert.NoError(t, s.engine.read.QueryRow(`select count(*) from operations where sent = 0 and due_since = 1`).Scan(&waiting))
		return waiting == 0
	}, harness.WaitLimit, 200*time.Millisecond, "all are delivered")
	assert.NotContains(t, l.String(), "does not take writes")
}

// Many parked records keep no store from taking writes.
func TestManyParked(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		l := &log{}
		config.Logger = slog.New(slog.NewTextHandler(l, nil))
		prepared(t, config, `insert into operations (id, action, account, outcome, requested_at, ended_at, records, sent, due_since, due_at, parked)
			with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 50000)
			select cast(n as text), 'stop', 'acc' || (n % 1000), 'accepted', n, n, 2, 0, 1, `+
			strconv.FormatInt(time.Now().Add(parkedFor/2).UnixMicro(), 10)+`, 'the usage integration refused the record: not_found: no such account' from numbers`)
		s := running(t, config)
		require.Eventually(t, func() bool {
			assert.NoError(t, tryInsert(t, s))
			return s.Stats().Waiting >= 100_000
		}, harness.WaitLimit, 200*time.Millisecond, "they are offered again and counted")
		known, err := s.Drop(t.Context(), "none")
		require.NoError(t, err)
		assert.False(t, known)
		_, err = s.Retry(t.Context())
		assert.NoError(t, err)
		assert.NotContains(t, l.String(), "does not take writes")
	}, "SQLite", "PostgreSQL")
}

// A store in memory forgets the oldest, although the clock was set back, and refuses what
// it has no room for.
func TestMemoryIsBounded(t *testing.T) {
	config, _ := configFor()
	config.Records = KeepRecords
	var back atomic.Int64
	config.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	s := running(t, config)
	fill := func(ended bool) error {
		refused, err := submit(t.Context(), s, call{}, func(t *tx) error {
			for range 40 {
				w := aWrite(lifecycle.Stop)
				if got := t.insert(w); got.refused != nil {
					return got.refused
				}
				if ended {
					t.end(w.ID, replyYes, End{})
				}
			}
			return nil
		})
		return errors.Join(err, refused)
	}
	var before int64
	for n := range 300 {
		if n == 200 {
			list, err := s.list(t.Context(), "order by seq desc limit 1")
			require.NoError(t, err)
			before = list[0].Sequence
			back.Store(int64(time.Hour))
		}
		require.NoError(t, fill(true))
	}
	list, err := s.list(t.Context(), "order by seq")
	require.NoError(t, err)
	assert.LessOrEqual(t, len(list), memoryOperations+64)
	assert.Equal(t, 100*40, len(slices.DeleteFunc(list, func(op Operation) bool { return op.Sequence <= before })))
	account := uuid.NewString()
	keyed := func(name string) (decided, error) {
		return submit(t.Context(), s, call{}, func(t *tx) decided {
			w := aWrite(lifecycle.Stop)
			w.Account, w.Key = account, name
			return t.insert(w)
		})
	}
	_, err = keyed("kept")
	require.NoError(t, err)
	for range 350 {
		err = fill(false)
	}
	assert.ErrorIs(t, err, lifecycle.ErrFull)
	known, err := keyed("kept")
	require.NoError(t, errors.Join(err, known.refused), "a key is looked up first")
	assert.Equal(t, lifecycle.Known, known.Decision)
	for range 2 {
		other, err := keyed("another")
		require.NoError(t, err)
		assert.ErrorIs(t, other.refused, lifecycle.ErrFull, "the key is not taken")
	}
}
