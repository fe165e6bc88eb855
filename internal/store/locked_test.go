package store

import (
	"database/sql"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// A table that is locked for long is told, and /readyz says so.
func TestLockedForLong(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, config Config) {
		l := &log{}
		config.Logger = slog.New(slog.NewTextHandler(l, nil))
		s := running(t, config)
		insert(t, s, aWrite(lifecycle.Stop), Lead)
		db, err := sql.Open("pgx", config.URL)
		require.NoError(t, err)
		defer db.Close()
		other, err := db.Begin()
		require.NoError(t, err)
		_, err = other.Exec(`lock table operations in share mode`) // create index, a dump with locks, a migration by hand
		require.NoError(t, err)
		for range 4 {
			_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Stop))
			assert.Error(t, err)
		}
		assert.Error(t, s.Healthy())
		assert.NotEmpty(t, l.String())
		require.NoError(t, other.Rollback())
	})
}
