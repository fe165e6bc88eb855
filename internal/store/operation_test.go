package store

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// What waits for a leader that is not there any more has an end all the same.
func TestLeaderIsGone(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		one, two := joining(), joining()
		insert(t, s, one, lifecycle.Lead)
		insert(t, s, two, lifecycle.Joined)
		_, err := s.Abandon(t.Context(), one.ID)
		require.NoError(t, err)
		alter(t, s, `delete from operations where id = $1`, one.ID) // as prune does
		expireAll(t, s)
		awaitOutcome(t, s, two.ID)
	})
}

// A state is not reached by a start that a stop superseded, but by a later one.
func TestReachedByALaterStart(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		first := acceptedStart(t, s, "account")
		stop := insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
		between := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead) // requested after the stop, accepted before it
		for _, id := range []string{between.ID, stop.ID} {
			_, err := s.Reply(t.Context(), id, true, End{})
			require.NoError(t, err)
		}
		later := acceptedStart(t, s, "account")
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "p", 0))
		for id, reached := range map[string]bool{first.ID: false, between.ID: true, later.ID: true} {
			r, err := s.Receipt(t.Context(), id)
			require.NoError(t, err)
			assert.Equal(t, reached, !r.ReachedAt.IsZero())
		}
		times, err := s.startTimes(t.Context())
		require.NoError(t, err)
		assert.Len(t, times, 2)
	})
}

// No start joins one that a stop was requested after, although another replica was
// inserting that at the time of the stop.
func TestStopBesideTheInsertOfAStart(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t)
	start, stop := aWrite(lifecycle.Start), aWrite(lifecycle.Stop)
	other := holding(t, db, `insert into operations (id, action, account, requested_at, closes_at, slot, slot_until) values ($1, 'start', 'a', 1, $2, 1, $2)`,
		start.ID, time.Now().Add(time.Hour).UnixMicro())
	insert(t, s, stop, lifecycle.Lead)
	require.NoError(t, other.Commit())
	for _, id := range []string{start.ID, stop.ID} {
		_, err := s.Reply(t.Context(), id, true, End{})
		require.NoError(t, err)
	}
	insert(t, s, joining(), lifecycle.Lead)
}

// Usage is turned on while an operation is open.
func TestUsageTurnedOn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]Records{
		"none to events":   {NoRecords, DeliverRecords},
		"events to none":   {DeliverRecords, NoRecords},
		"events to memory": {DeliverRecords, KeepRecords},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := configFor()
			config.Dir = t.TempDir()
			config.Records = change[0]
			s, end := begin(t, config)
			w := aWrite(lifecycle.Start)
			insert(t, s, w, lifecycle.Lead)
			require.NoError(t, end())
			config.Records, config.Metrics = change[1], metrics.NewSet()
			s = running(t, config)
			_, err := s.Reply(t.Context(), w.ID, true, End{})
			require.NoError(t, err)
			op, err := s.find(t.Context(), w.ID)
			require.NoError(t, err)
			switch n := op.records; {
			case n == 0:
			case n == 2:
				assert.Zero(t, op.sent, "the requested record is not delivered")
			default:
				assert.Fail(t, "one record alone", "%v", op.receipt().Usage)
			}
		})
	}
}

// Two replicas get the same stop with the same key at the same time: one publishes.
func TestKeyOnTwoReplicas(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		one := running(t, config)
		config.Metrics = metrics.NewSet()
		two := running(t, config)
		insert(t, one, aWrite(lifecycle.Stop), lifecycle.Lead)
		insert(t, two, aWrite(lifecycle.Stop), lifecycle.Lead)
		twice := 0
		for range 200 {
			account, key := uuid.NewString(), uuid.NewString()
			var both sync.WaitGroup
			var decisions [2]lifecycle.Decision
			for i, s := range []*Store{one, two} {
				both.Go(func() {
					w := aWrite(lifecycle.Stop)
					w.Account, w.Key = account, key
					var err error
					decisions[i], _, err = s.insert(context.Background(), w)
					assert.NoError(t, err)
				})
			}
			both.Wait()
			if decisions == [2]lifecycle.Decision{lifecycle.Lead, lifecycle.Lead} {
				twice++
			}
		}
		assert.Zero(t, twice, "of 200 are published twice for one key")
	}, "PostgreSQL")
}

// A commit that was not confirmed is seen while its operation is given up.
func TestTakenIDWhileTheInsertCommits(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t)
	insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
	id := uuid.NewString()
	late := holding(t, db, `insert into operations (id, action, account, requested_at, closes_at, records, due_since, due_at)
		values ($1, 'start', 'a', 1, 9000000000000000, 1, 1, 1)`, id) // the session whose commit waits for a standby
	ended := make(chan error, 1)
	go func() { _, err := s.Abandon(context.Background(), id); ended <- err }()
	awaitLock(t, db)
	require.NoError(t, late.Commit())
	require.NoError(t, <-ended)
	assertLife(t, s, id, lifecycle.NotSent, requested, failed)
}

// A record is written while another replica acknowledges the one before it.
func TestAcknowledgedWhileTheEndIsWritten(t *testing.T) {
	t.Parallel()
	s, db := withPostgres(t)
	op := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
	other := holding(t, db, `update operations set sent = 1 where id = $1 and sent = 0`, op.ID)
	ended := make(chan error, 1)
	go func() { _, err := s.Reply(context.Background(), op.ID, true, End{}); ended <- err }()
	awaitLock(t, db)
	require.NoError(t, other.Commit())
	require.NoError(t, <-ended)
	row, err := s.find(t.Context(), op.ID)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 1}, []int{row.records, row.sent})
	assert.NotZero(t, row.dueAt)
}

// A receipt is the same when it is told with a change, and when it is read afterwards.
func TestReceiptIsReadAsItWasTold(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		w := aWrite(lifecycle.Start)
		w.Entitlement = lifecycle.Entitlement{Reason: "paid", PlanID: "large"}
		begun, err := s.Begin(t.Context(), w)
		require.NoError(t, err)
		read := func() lifecycle.Receipt {
			r, err := s.Receipt(t.Context(), w.ID)
			require.NoError(t, err)
			return r
		}
		assert.Equal(t, read(), begun.Receipt)
		ended, err := s.Ended(w.ID, lifecycle.Accepted, nil, 1_234_567*time.Nanosecond)
		require.NoError(t, err)
		assert.Equal(t, read(), ended)
	})
}
