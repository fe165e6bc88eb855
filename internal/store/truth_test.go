package store

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// The history is read when something is past its time, not each second of the minute before.
func TestHistoryIsReadOnce(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, config Config) {
		var reads atomic.Int32
		config.Timeout, config.LateReply = 0, 0
		config.History = func(context.Context) error { reads.Add(1); return nil }
		s := running(t, config)
		w := aWrite(lifecycle.Stop)
		insert(t, s, w, Lead)
		eventually(t, func() bool {
			op, err := s.Find(t.Context(), w.ID)
			return err == nil && op.Outcome != ""
		}, "closed")
		assert.LessOrEqual(t, reads.Load(), int32(2))
	})
}

// A long history, which is told again, does not keep callers from writing.
func TestHistoryDoesNotDelayWrites(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		insert(t, s, aWrite(lifecycle.Stop), Lead)
		go func() {
			for range 60_000 { // replies to operations of last week
				s.Settle(uuid.NewString(), lifecycle.Accepted, true)
			}
		}()
		time.Sleep(300 * time.Millisecond)
		for range 5 { // within callTimeout
			_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Stop))
			assert.NoError(t, err)
		}
	})
}

// The clock is set back while the store takes no writes.
func TestClockSetBackWhileAway(t *testing.T) {
	t.Parallel()
	config, _ := configFor(t)
	config.Dir = filepath.Join(t.TempDir(), "data")
	var offset atomic.Int64
	config.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	s := running(t, config)
	w := aWrite(lifecycle.Start)
	insert(t, s, w, Lead)
	require.NoError(t, os.Rename(config.Dir, config.Dir+"-moved"))
	_, _, err := s.Insert(t.Context(), aWrite(lifecycle.Start))
	require.ErrorIs(t, err, ErrUnavailable)
	offset.Store(int64(-48 * time.Hour))
	time.Sleep(2500 * time.Millisecond)
	require.NoError(t, os.Rename(config.Dir+"-moved", config.Dir))
	eventually(t, func() bool { return s.Healthy() == nil }, "healthy")
	assert.Eventually(t, func() bool {
		op, err := s.Find(t.Context(), w.ID)
		return err == nil && op.ClosesAt.Before(config.Now().Add(time.Hour))
	}, 10*time.Second, 50*time.Millisecond, "closes within minutes, not in two days")
}

// A server that refuses the login, or the database, is away.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, config Config) {
		s := running(t, config)
		w := aWrite(lifecycle.Start)
		insert(t, s, w, Lead)
		admin, err := sql.Open("pgx", config.URL[:strings.LastIndex(config.URL, "/")]+"/postgres?sslmode=disable")
		require.NoError(t, err)
		defer admin.Close()
		c, err := admin.Conn(t.Context())
		require.NoError(t, err)
		name := strings.TrimSuffix(config.URL[strings.LastIndex(config.URL, "/")+1:], "?sslmode=disable")
		exec := func(text string) { _, err := c.ExecContext(t.Context(), text); require.NoError(t, err) }
		exec("alter database " + name + " with allow_connections false")
		exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = '" + name + "' and pid <> pg_backend_pid()")
		for range 2 {
			_, _, err = s.Insert(t.Context(), aWrite(lifecycle.Start))
			require.Error(t, err)
		}
		assert.Error(t, s.Healthy(), "every write fails")
		s.Settle(w.ID, lifecycle.Accepted, false)
		time.Sleep(3 * time.Second)
		assert.Error(t, s.Healthy(), "every write still fails")
		exec("alter database " + name + " with allow_connections true")
		assert.Eventually(t, func() bool {
			op, err := s.Find(t.Context(), w.ID)
			return err == nil && op.Outcome == lifecycle.Accepted
		}, 10*time.Second, 50*time.Millisecond, "the reply that came meanwhile is written")
	})
}

// An account whose records are acknowledged late has all its places back.
func TestLateAcknowledgementsFreePlaces(t *testing.T) {
	t.Parallel()
	config, _ := configFor(t)
	s := running(t, config)
	var mu sync.Mutex
	now, most := 0, 0
	r := &receiver{answer: func(ctx context.Context, c sending) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(300 * time.Millisecond) // the time-out
		mu.Lock()
		now--
		mu.Unlock()
		s.Acknowledged(c.id, false) // just too late
		return context.DeadlineExceeded
	}}
	delivering(t, s, r)
	names := make([]string, 100)
	for i := range names {
		names[i] = uuid.NewString()
	}
	for range 2 {
		mu.Lock()
		most = 0
		mu.Unlock()
		var ids []string
		for _, name := range names {
			ids = append(ids, acceptedStart(t, s, name).ID)
		}
		eventually(t, func() bool {
			for _, id := range ids {
				if !allDelivered(t, s, id) {
					return false
				}
			}
			return true
		}, "all")
		time.Sleep(time.Second)
		d := s.delivery.Load()
		d.mu.Lock()
		if d.sending == 0 {
			assert.Zero(t, len(d.accounts), "nothing is on its way")
		}
		d.mu.Unlock()
	}
}

// Usage is turned on while an operation is open.
func TestUsageTurnedOn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]Records{"none to events": {NoRecords, DeliverRecords}, "events to none": {DeliverRecords, NoRecords}, "events to memory": {DeliverRecords, KeepRecords}} {
		t.Run(name, func(t *testing.T) {
			config, _ := configFor(t)
			config.Dir = t.TempDir()
			config.Records = change[0]
			s, err := Open(t.Context(), config)
			require.NoError(t, err)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			w := aWrite(lifecycle.Start)
			insert(t, s, w, Lead)
			stop()
			require.NoError(t, <-ended)
			config.Records, config.Metrics = change[1], metrics.NewSet()
			s = running(t, config)
			_, err = s.Reply(t.Context(), w.ID, true, End{})
			require.NoError(t, err)
			op, err := s.Find(t.Context(), w.ID)
			require.NoError(t, err)
			switch n := op.records; {
			case n == 0:
			case n == 2:
				assert.Zero(t, op.sent, "the requested record is not delivered")
			default:
				assert.Fail(t, "one record alone", "%v", op.Records())
			}
		})
	}
}

// A gateway whose clock is behind that of the database sends again, and closes, in time.
func TestClockBehindTheDatabase(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(t *testing.T, config Config) {
		config.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
		config.Timeout, config.LateReply = 0, 0
		s := running(t, config)
		var tries atomic.Int32
		r := &receiver{answer: func(context.Context, sending) error {
			if tries.Add(1) == 1 {
				return errBusy
			}
			return nil
		}}
		delivering(t, s, r)
		w := acceptedStart(t, s, "account")
		open := aWrite(lifecycle.Stop)
		insert(t, s, open, Lead)
		assert.Eventually(t, func() bool { return allDelivered(t, s, w.ID) }, 15*time.Second, 50*time.Millisecond, "sent again")
		assert.Eventually(t, func() bool {
			op, err := s.Find(t.Context(), open.ID)
			return err == nil && op.Outcome != ""
		}, 15*time.Second, 50*time.Millisecond, "closed")
	})
}

// What waits for a leader that is not there any more has an end all the same.
func TestLeaderIsGone(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		one, two := joining(), joining()
		insert(t, s, one, Lead)
		insert(t, s, two, Joined)
		_, err := s.Abandon(t.Context(), one.ID)
		require.NoError(t, err)
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) error {
			_, err := t.exec(`delete from operations where id = $1`, one.ID) // as prune does
			return err
		}))
		expireAll(t, s)
		op, err := s.Find(t.Context(), two.ID)
		require.NoError(t, err)
		assert.NotEmpty(t, op.Outcome)
	})
}
