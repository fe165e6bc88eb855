package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

func TestNewerSchema(t *testing.T) {
	config, _ := configFor()
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

// A command beside the service makes no store, which could be taken for an empty one.
func TestIdleMakesNoStore(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		config.Idle = true
		for range 2 {
			_, err := Open(t.Context(), config)
			require.ErrorContains(t, err, "there is no operations store")
		}
	}, "SQLite", "PostgreSQL")
}

// A replica that sets up the schema slowly, or sets up a large one, keeps no other
// from starting.
func TestReplicaWaitsForTheSchema(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
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
	awaitLock(t, connect(t, config))
	select {
	case err := <-opened:
		t.Fatal(err)
	case <-time.After(4 * lockTimeout): // that it does not give up meanwhile is the point
	}
	require.NoError(t, setup.Commit())
	assert.NoError(t, <-opened)
}

// A connection pooler that keeps the timeouts of sessions from PostgreSQL is refused.
func TestPoolerInBetween(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	e, err := openPostgres(config.URL)
	require.NoError(t, err)
	require.NoError(t, e.migrate(t.Context()))
	e.migrated = false
	require.NoError(t, e.read.Close())
	e.read = connect(t, config) // sets nothing
	assert.ErrorIs(t, e.migrate(t.Context()), errPooler)
	assert.NoError(t, e.write.Close())
}

// What is done for each write or every second costs the same however many operations
// have ended.
func TestStatementsFindTheirRowsByAnIndex(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		delivering(t, s, &receiver{answer: func(ctx context.Context, _ sending) error { <-ctx.Done(); return ctx.Err() }})
		eventually(t, func() bool { return s.delivery.Load() != nil }, "there is room")
		leader, follower, keyed := joining(), joining(), aWrite(lifecycle.Start)
		keyed.Key = "key"
		insert(t, s, leader, lifecycle.Lead)
		insert(t, s, follower, lifecycle.Joined)
		insert(t, s, keyed, lifecycle.Joined)
		_, err := s.Reply(t.Context(), leader.ID, true, End{})
		require.NoError(t, err)
		for _, do := range []func(*tx){
			(*tx).begin,
			func(t *tx) { t.setBack() },
			func(t *tx) { t.prune() },
			func(t *tx) { t.offer() },
			func(t *tx) { t.claim([]string{leader.Account}, 1) },
			func(t *tx) { t.retry(Operation{Receipt: lifecycle.Receipt{ID: leader.ID}}, 0, "refused") },
			func(t *tx) { t.acknowledge(leader.ID, 0, false) },
			func(t *tx) { t.reached(lifecycle.Start, "p", time.Second) },
			func(t *tx) { t.decide(follower.ID) },
		} {
			require.NoError(t, s.do(t.Context(), call{}, do))
		}
		statements := []string{dueAccounts, figures}
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) {
			for statement := range t.session.statements {
				if word, _, _ := strings.Cut(statement, " "); word != "insert" && word != "begin" && word != "commit" {
					statements = append(statements, statement)
				}
			}
		}))
		require.Greater(t, len(statements), 15)
		for _, statement := range statements {
			if strings.Contains(statement, "select count(*) from operations)") || strings.Contains(statement, "store_schema") {
				continue // of a store in memory, whose rows are few; of one row
			}
			for _, step := range planOf(t, s, statement) {
				if strings.HasPrefix(step, "SCAN operations") || strings.HasPrefix(step, "SCAN keys") {
					assert.Contains(t, step, "INDEX", statement)
				}
				assert.NotContains(t, step, "TEMP B-TREE", statement)
				if strings.Contains(statement, "sent < records") && strings.HasPrefix(step, "S") && strings.Contains(step, "operations") {
					assert.Regexp(t, "operations_(due|parked|ended)|operations_1|autoindex", step, statement)
				}
			}
		}
	}, "SQLite")
}

// So it is on PostgreSQL, which counts the rows that are read, and plans a statement
// without its values, where that seems as good, once it has run five times.
func TestFewRowsAreRead(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			fewRowsAreRead(t, "&plan_cache_mode="+mode)
		})
	}
}

func fewRowsAreRead(t *testing.T, planned string) {
	const rows, times = 50_000, 8
	config, _ := configFor()
	config.URL = postgres.Database(t)
	told := make(chan string, 100)
	config.Changed = func(r lifecycle.Receipt, _ bool) {
		if r.ID == "another" {
			told <- r.ID
		}
	}
	db := prepared(t, config, fmt.Sprintf(`insert into operations (id, action, account, outcome, requested_at, accepted_at, reached_at, ended_at, provider, records, sent)
		select cast(n as text), 'start', 'acc' || (n %% 1000), 'accepted', at, at, at, at, 'p', 2, 2
		from (select n, (extract(epoch from now()) * 1000000)::bigint - n * 1000000::bigint as at from generate_series(3600, 3600 + %d) n) numbers`, rows), `analyze operations`)
	config.URL += planned
	s, end := begin(t, config)
	awaitLooks(t, s)
	execute(t, db, `select pg_stat_reset()`)
	for range times {
		leader, follower, keyed := joining(), joining(), aWrite(lifecycle.Stop)
		insert(t, s, leader, lifecycle.Lead)
		insert(t, s, follower, lifecycle.Joined)
		_, err := s.Abandon(t.Context(), leader.ID)
		require.NoError(t, err)
		_, _, err = s.decide(t.Context(), follower.ID)
		require.NoError(t, err)
		_, err = s.Reply(t.Context(), follower.ID, true, End{})
		require.NoError(t, err)
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "renamed", 0))
		keyed.Key = "key"
		insert(t, s, keyed, lifecycle.Lead)
		_, err = s.repeat(t.Context(), (*tx).prune)
		require.NoError(t, err)
		for _, read := range []func() ([]lifecycle.Receipt, error){
			func() ([]lifecycle.Receipt, error) { return s.Receipts(t.Context(), "acc1", 20) },
			func() ([]lifecycle.Receipt, error) { return s.Recent(t.Context(), "acc1", time.Minute) },
			func() ([]lifecycle.Receipt, error) { return s.Latest(t.Context(), 20) },
		} {
			_, err = read()
			require.NoError(t, err)
		}
		require.True(t, s.WantsHistory())
		_, err = s.Parked(t.Context(), MaxListed)
		require.NoError(t, err)
		_, err = s.startTimes(t.Context())
		require.NoError(t, err)
	}
	execute(t, db, another)
	require.Equal(t, "another", harness.Next(t, told))
	require.NoError(t, end())
	eventually(t, func() bool {
		var sessions int
		require.NoError(t, db.QueryRow(`select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`).Scan(&sessions))
		return sessions == 0
	}, "its sessions have ended, and told what they have read")
	var read int
	require.NoError(t, db.QueryRow(`select sum(seq_tup_read + idx_tup_fetch) from pg_stat_user_tables`).Scan(&read))
	assert.NotZero(t, read)
	assert.Less(t, read, rows/5)
}

// planOf is the query plan of SQLite for a statement.
func planOf(t *testing.T, s *Store, statement string) (steps []string) {
	t.Helper()
	args := slices.Repeat([]any{1}, 40) // those that a statement does not have are ignored
	rows, err := s.engine.read.QueryContext(t.Context(), "explain query plan "+statement, args...)
	require.NoError(t, err, statement)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	return steps
}
