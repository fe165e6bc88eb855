package store

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// Two replicas get the same stop with the same key at the same time: one publishes.
func TestKeyOnTwoReplicas(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, config Config) {
		one := running(t, config)
		config.Metrics = metrics.NewSet()
		two := running(t, config)
		insert(t, one, aWrite(lifecycle.Stop), Lead)
		insert(t, two, aWrite(lifecycle.Stop), Lead)
		twice := 0
		for range 200 {
			account, key := uuid.NewString(), uuid.NewString()
			var both sync.WaitGroup
			var decisions [2]Decision
			for i, s := range []*Store{one, two} {
				both.Go(func() {
					w := aWrite(lifecycle.Stop)
					w.Account, w.Key = account, key
					var err error
					decisions[i], _, err = s.Insert(context.Background(), w)
					assert.NoError(t, err)
				})
			}
			both.Wait()
			if decisions == [2]Decision{Lead, Lead} {
				twice++
			}
		}
		assert.Zero(t, twice, "of 200 are published twice for one key")
	})
}

// A commit that was not confirmed is seen while its operation is given up.
func TestTakenIDWhileTheInsertCommits(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, config Config) {
		s := running(t, config)
		insert(t, s, aWrite(lifecycle.Stop), Lead)
		db, err := sql.Open("pgx", config.URL)
		require.NoError(t, err)
		defer db.Close()
		late, err := db.Begin() // the session whose commit waits for a standby
		require.NoError(t, err)
		id := uuid.NewString()
		_, err = late.Exec(`insert into operations (id, action, account, requested_at, closes_at, records, due_since, due_at)
			values ($1, 'start', 'a', 1, 9000000000000000, 1, 1, 1)`, id)
		require.NoError(t, err)
		go func() {
			time.Sleep(100 * time.Millisecond)
			assert.NoError(t, late.Commit())
		}()
		op, err := s.Abandon(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, lifecycle.NotSent, op.Outcome)
		time.Sleep(time.Second)
		assertLife(t, s, id, lifecycle.NotSent, requested, failed)
	})
}

// What leads since it was found past its time has a new one.
func TestExpireLooksAgain(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, config Config) {
		s := running(t, config)
		one, two := joining(), joining()
		insert(t, s, one, Lead)
		insert(t, s, two, Joined)
		_, err := s.Abandon(t.Context(), one.ID)
		require.NoError(t, err)
		db, err := sql.Open("pgx", config.URL)
		require.NoError(t, err)
		defer db.Close()
		_, err = db.Exec(`update operations set closes_at = 1 where id = $1`, two.ID)
		require.NoError(t, err)
		other, err := db.Begin() // another replica lets it lead
		require.NoError(t, err)
		_, err = other.Exec(`update operations set leader = '', slot = 1, closes_at = 9000000000000000 where id = $1`, two.ID)
		require.NoError(t, err)
		go func() {
			time.Sleep(100 * time.Millisecond)
			assert.NoError(t, other.Commit())
		}()
		_, err = s.Expire(t.Context(), 10)
		require.NoError(t, err)
		op, err := s.Find(t.Context(), two.ID)
		require.NoError(t, err)
		assert.Empty(t, op.Outcome, "it closes later")
	})
}
