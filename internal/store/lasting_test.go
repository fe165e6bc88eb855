package store

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// withPostgres runs a store on a database that before has prepared, and returns another
// way to it.
func withPostgres(t *testing.T, prepare ...string) (*Store, *sql.DB) {
	config, _ := configFor(t)
	config.URL = postgres.Database(t)
	first, err := Open(t.Context(), config)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	db, err := sql.Open("pgx", config.URL)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	for _, statement := range prepare {
		_, err := db.Exec(statement)
		require.NoError(t, err)
	}
	config.Metrics = metrics.NewSet()
	return running(t, config), db
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.Exec(statement)
	require.NoError(t, err)
}

func tryInsert(t *testing.T, s *Store) error {
	_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Stop))
	return err
}

// What others put into the ids of their replies reaches no database.
func TestForeignIDs(t *testing.T) {
	t.Parallel()
	s, _ := withPostgres(t)
	id := uuid.NewString()
	for _, delivery := range []string{id + ".2147483648", id + ".-1", id + ".+0", id + ".00", id + ".", id, "", "x.0", id + "\x00.0"} {
		_, _, ok := parseDeliveryID(delivery)
		assert.False(t, ok, delivery)
		s.Acknowledged(delivery, false)
		s.Settle(delivery+"\x00", lifecycle.Accepted, false)
	}
	assert.NoError(t, tryInsert(t, s))
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

// A database that refuses everything, in whatever words, is told of, and what is kept
// is written once it does no longer.
func TestRefusingDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"a table is missing":  {`alter table operations rename to gone`, `alter table gone rename to operations`},
		"a column is missing": {`alter table operations rename column sent to gone`, `alter table operations rename column gone to sent`},
	} {
		t.Run(name, func(t *testing.T) {
			s, db := withPostgres(t)
			w := aWrite(lifecycle.Stop)
			insert(t, s, w, Lead)
			execute(t, db, c[0])
			s.Settle(w.ID, lifecycle.Accepted, false)
			assert.Error(t, tryInsert(t, s))
			assert.Error(t, s.Healthy())
			execute(t, db, c[1])
			eventually(t, func() bool {
				op, err := s.Find(t.Context(), w.ID)
				return err == nil && op.Outcome == lifecycle.Accepted
			}, "written")
		})
	}
}

// A store ends in time although a row that it has to write stays locked.
func TestEndWhileARowIsLocked(t *testing.T) {
	t.Parallel()
	config, _ := configFor(t)
	config.URL = postgres.Database(t)
	s, err := Open(t.Context(), config)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w := aWrite(lifecycle.Stop)
	insert(t, s, w, Lead)
	db, err := sql.Open("pgx", config.URL)
	require.NoError(t, err)
	defer db.Close()
	tx, err := db.Begin()
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.Exec(`select 1 from operations for update`)
	require.NoError(t, err)
	s.Settle(w.ID, lifecycle.Accepted, false)
	stop()
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Error("Run does not return")
	}
}

// Sessions that the server has ended are opened again before a caller is refused.
func TestEndedSession(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t)
	require.NoError(t, tryInsert(t, s))
	execute(t, db, `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend' and datname = current_database()`)
	assert.NoError(t, tryInsert(t, s))
}
