package store

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// awaitLooks waits until s has begun to look at what others write: what comes then is a
// change.
func awaitLooks(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, func() bool { return s.estimate.Load() != nil }, "it measures starts, after its first look")
}

// another is written as no call does: a store that is told of it has looked since.
const another = `insert into operations (id, action, account, requested_at, closes_at) values ('another', 'stop', 'a', 1, 9e15)`

// Each change is told once, where it was made and elsewhere.
func TestChanges(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		told := func(config *Config) chan string {
			changes := make(chan string, 100)
			config.Changed = func(r lifecycle.Receipt, elsewhere bool) {
				changes <- fmt.Sprint(r.ID, " ", r.Outcome, " ", r.Corrected, " ", !r.ReachedAt.IsZero(), " ", elsewhere)
			}
			return changes
		}
		here := told(&config)
		s := running(t, config)
		var there chan string
		if config.URL != "" {
			there = told(&config)
			config.Metrics = metrics.NewSet()
			awaitLooks(t, running(t, config))
		}
		leader, follower, late := joining(), joining(), aWrite(lifecycle.Stop)
		insert(t, s, leader, lifecycle.Lead)
		insert(t, s, follower, lifecycle.Joined)
		_, err := s.Reply(t.Context(), leader.ID, true, End{})
		require.NoError(t, err)
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "p", 0))
		insert(t, s, late, lifecycle.Lead)
		_, err = submit(t.Context(), s, call{}, func(t *tx) Operation {
			t.now += time.Hour.Microseconds()
			return t.end(late.ID, expired, End{})
		})
		require.NoError(t, err)
		for range 2 { // the second is a repetition
			_, err = s.Reply(t.Context(), late.ID, false, End{})
			require.NoError(t, err)
		}
		for _, want := range []string{
			leader.ID + "  false false", follower.ID + "  false false", leader.ID + " accepted false false", follower.ID + " accepted false false",
			leader.ID + " accepted false true", follower.ID + " accepted false true",
			late.ID + "  false false", late.ID + " unknown false false", late.ID + " rejected true false",
		} {
			require.Equal(t, want+" false", <-here)
		}
		if there != nil {
			final := map[string]bool{leader.ID + " accepted false true true": true, follower.ID + " accepted false true true": true, late.ID + " rejected true false true": true}
			for len(final) > 0 {
				delete(final, harness.Next(t, there))
			}
			time.Sleep(overlap)
			require.Empty(t, there, "told twice")
		}
		require.Empty(t, here)
	})
}

// What changed lately is listed by its last change, for each account.
func TestRecent(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		var s *Store
		ids := func(account string, ago time.Duration) (ids []string) {
			list, err := s.Recent(t.Context(), account, ago)
			require.NoError(t, err)
			for _, op := range list {
				ids = append(ids, op.ID)
			}
			return ids
		}
		s = running(t, config)
		first, second, third, other := aWrite(lifecycle.Stop), aWrite(lifecycle.Stop), aWrite(lifecycle.Start), aWrite(lifecycle.Stop)
		second.Account, third.Account = first.Account, first.Account
		for _, w := range []lifecycle.Write{first, second, third, other} {
			insert(t, s, w, lifecycle.Lead)
		}
		alter(t, s, `update operations set requested_at = requested_at - 2 * 3600000000`)
		require.Empty(t, ids(first.Account, time.Hour))
		require.Equal(t, []string{third.ID, second.ID, first.ID}, ids(first.Account, 3*time.Hour))
		for _, w := range []lifecycle.Write{third, first} {
			_, err := s.Reply(t.Context(), w.ID, true, End{})
			require.NoError(t, err)
		}
		require.Equal(t, []string{first.ID, third.ID}, ids(first.Account, time.Hour))
		require.NoError(t, s.Reached(t.Context(), lifecycle.Start, "p", 0))
		require.Equal(t, []string{third.ID, first.ID}, ids(first.Account, time.Hour))
		_, err := s.Abandon(t.Context(), aWrite(lifecycle.Stop).ID) // an id that is taken
		require.NoError(t, err)
		latest, err := s.Latest(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, []string{other.ID, third.ID}, []string{latest[0].ID, latest[1].ID})
	})
}

// What ended on another replica during an outage of this one, longer ago than a look goes
// back, is told of once.
func TestChangesDuringAnOutage(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	told := make(chan string, 100)
	config.Changed = func(r lifecycle.Receipt, elsewhere bool) { told <- fmt.Sprint(r.ID, " ", r.Outcome, " ", elsewhere) }
	s := running(t, config)
	before, during := aWrite(lifecycle.Stop), aWrite(lifecycle.Stop)
	insert(t, s, before, lifecycle.Lead)
	insert(t, s, during, lifecycle.Lead)
	ended := make(chan lifecycle.Receipt, 1)
	go func() {
		r, _ := s.Await(t.Context(), during.ID, "")
		ended <- r
	}()
	awaitLooks(t, s)
	awaitWaiter(t, s, during.ID)
	_, err := s.Reply(t.Context(), before.ID, true, End{})
	require.NoError(t, err)
	db := connect(t, config)
	execute(t, db, `alter table operations rename to gone`) // away from this process
	execute(t, db, `update gone set outcome = 'accepted', ended_at = extract(epoch from clock_timestamp()) * 1000000 where id = '`+during.ID+`'`)
	time.Sleep(2*overlap + 2*observeEvery) // so long is it away, and what it had known before would be forgotten
	execute(t, db, `alter table gone rename to operations`)
	require.Equal(t, lifecycle.Accepted, harness.Next(t, ended).Outcome)
	execute(t, db, another)
	const last = "another  true"
	var all []string
	for !slices.Contains(all, last) {
		all = append(all, harness.Next(t, told))
	}
	require.Equal(t, []string{before.ID + "  false", during.ID + "  false", before.ID + " accepted false", during.ID + " accepted true", last}, all)
}

// What changed later than now, as the clock of another database or of a standby had it, is
// told of once, however often a look finds it.
func TestChangesAheadOfTheClock(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	told := make(chan string, 100)
	config.Changed = func(r lifecycle.Receipt, _ bool) { told <- r.ID }
	s := running(t, config)
	awaitLooks(t, s)
	db := connect(t, config)
	execute(t, db, `insert into operations (id, action, account, outcome, ended_at) values ('ahead', 'stop', 'a', 'accepted', 9000000000000000)`)
	require.Equal(t, "ahead", harness.Next(t, told))
	s.changes.mu.Lock()
	s.changes.known["ahead"] = stage{1, time.Now().Add(-time.Hour)}
	s.changes.mu.Unlock()
	time.Sleep(2*observeEvery + observeEvery/2)
	execute(t, db, another)
	require.Equal(t, "another", harness.Next(t, told))
}

// What others wrote during an outage of this replica fits into its memory.
func TestManyChangesElsewhere(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	var changes atomic.Int64
	config.Changed = func(lifecycle.Receipt, bool) { changes.Add(1) }
	s := running(t, config)
	insert(t, s, aWrite(lifecycle.Stop), lifecycle.Lead)
	awaitLooks(t, s)
	changes.Store(0)
	db := connect(t, config)
	execute(t, db, `insert into operations (id, action, account, requested_at, closes_at)
		select n::text, 'stop', 'a', 1, 9e15 from generate_series(1, 12000) as n`)
	eventually(t, func() bool { return changes.Load() >= maxObserved }, "it is told of the latest")
	execute(t, db, another)
	eventually(t, func() bool { return changes.Load() > maxObserved }, "it looks again")
	require.EqualValues(t, maxObserved+1, changes.Load())
}
