package store

import (
	"database/sql"
	"log/slog"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// Many parked records keep no store from taking writes.
func TestManyParked(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, config Config) {
		l := &log{}
		config.Logger = slog.New(slog.NewTextHandler(l, nil))
		first := running(t, config)
		insert(t, first, aWrite(lifecycle.Stop), Lead)
		s := first
		if config.URL != "" {
			db, err := sql.Open("pgx", config.URL)
			require.NoError(t, err)
			_, err = db.Exec(`insert into operations (id, action, account, outcome, requested_at, ended_at, records, sent, due_since, due_at, parked)
				select gen_random_uuid()::text, 'stop', 'acc-'||(g%1000), 'accepted', g, g, 2, 0, 1, 9000000000000000, 'the usage integration refused the record: not_found: no such account' from generate_series(1,50000) g`)
			require.NoError(t, err)
			db.Close()
			config.Metrics = metrics.NewSet()
			s = running(t, config) // another replica begins
		} else {
			db, err := sql.Open("sqlite", "file:"+s.files.path()+"?_pragma=busy_timeout(5000)")
			require.NoError(t, err)
			_, err = db.Exec(`with recursive c(x) as (select 1 union all select x+1 from c where x < 50000)
				insert into operations (id, action, account, outcome, requested_at, ended_at, records, sent, due_since, due_at, parked)
				select hex(randomblob(16)), 'stop', 'acc' || (x % 1000), 'accepted', x, x, 2, 0, 1, 9000000000000000, 'the usage integration refused the record: not_found: no such account' from c`)
			require.NoError(t, err)
			db.Close()
		}
		for range 4 {
			_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Stop))
			assert.NoError(t, err)
			time.Sleep(200 * time.Millisecond)
		}
		known, err := s.Drop(t.Context(), "none")
		require.NoError(t, err)
		assert.False(t, known)
		_, err = s.Retry(t.Context())
		assert.NoError(t, err)
		assert.NotContains(t, l.String(), "does not take writes")
	}, "SQLite", "PostgreSQL")
}
