package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// The metrics say what the store holds, and what was set aside.
func TestMetrics(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		shows := func(lines ...string) {
			t.Helper()
			eventually(t, func() bool {
				var b strings.Builder
				config.Metrics.WritePrometheus(&b)
				for _, line := range lines {
					if !strings.Contains(b.String(), line+"\n") {
						return false
					}
				}
				return true
			}, strings.Join(lines, ", "))
		}
		shows("bus_vm_store_healthy 1", "bus_vm_store_damaged_files 0", "bus_vm_store_commit_failures_total 0",
			"bus_vm_usage_waiting_records 0", "bus_vm_usage_parked_records 0", "bus_vm_usage_oldest_record_age_seconds 0")
		w := aWrite(lifecycle.Stop)
		op := insert(t, s, w, lifecycle.Lead)
		alter(t, s, `update operations set due_since = due_since - 3600000000`)
		shows("bus_vm_usage_waiting_records 1", "bus_vm_usage_parked_records 0")
		eventually(t, func() bool { age := s.Stats().OldestAgeSeconds; return age > 59*60 && age < 61*60 }, "an hour old")
		require.NoError(t, s.do(t.Context(), call{}, func(t *tx) { t.retry(op, parkedFor, "no such account") }))
		shows("bus_vm_usage_waiting_records 1", "bus_vm_usage_parked_records 1", "bus_vm_usage_oldest_record_age_seconds 0")
	})
}

// What is older than it must be goes, unless a record or a key keeps it.
func TestPrune(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		prune := func() {
			_, err := s.repeat(t.Context(), (*tx).prune)
			require.NoError(t, err)
		}
		exists := func(w lifecycle.Write) bool {
			op, err := s.find(t.Context(), w.ID)
			require.NoError(t, err)
			return op.ID != ""
		}
		ended := func(change func(*lifecycle.Write), deliver bool) lifecycle.Write {
			w := aWrite(lifecycle.Stop)
			change(&w)
			insert(t, s, w, lifecycle.Lead)
			_, err := s.Reply(t.Context(), w.ID, true, End{})
			require.NoError(t, err)
			if deliver {
				alter(t, s, `update operations set sent = records where id = $1`, w.ID)
			}
			return w
		}
		old := ended(func(*lifecycle.Write) {}, true)
		undelivered := ended(func(*lifecycle.Write) {}, false)
		keyed := ended(func(w *lifecycle.Write) { w.Key = "k" }, true)
		open := aWrite(lifecycle.Stop)
		insert(t, s, open, lifecycle.Lead)
		alter(t, s, `update operations set ended_at = ended_at - $1 where ended_at > 0`, (config.Keep + time.Minute).Microseconds())
		young := ended(func(*lifecycle.Write) {}, true)
		prune()
		assert.False(t, exists(old))
		for name, w := range map[string]lifecycle.Write{"undelivered": undelivered, "keyed": keyed, "open": open, "young": young} {
			assert.True(t, exists(w), name)
		}
		alter(t, s, `update keys set created_at = created_at - $1`, keyKept.Microseconds())
		prune()
		assert.False(t, exists(keyed))
	})
}

// What is past its time is closed once the history has been read.
func TestCloses(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		var s *Store
		answered, silent := aWrite(lifecycle.Start), aWrite(lifecycle.Start)
		read := make(chan struct{})
		config.Timeout, config.LateReply = 0, 0
		config.History = func(ctx context.Context) error {
			<-read
			_, err := s.Reply(ctx, answered.ID, true, End{})
			return err
		}
		s = running(t, config)
		insert(t, s, answered, lifecycle.Lead)
		insert(t, s, silent, lifecycle.Lead)
		alter(t, s, `update operations set closes_at = 1`)
		close(read)
		awaitOutcome(t, s, silent.ID, lifecycle.Unknown)
		assertLife(t, s, answered.ID, lifecycle.Accepted, requested, finished)
	})
}

// What the history has just told is written before what is past its time is
// closed, although both are in one transaction.
func TestRepliesBeforeClosing(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		s := running(t, config)
		op := insert(t, s, aWrite(lifecycle.Start), lifecycle.Lead)
		busy, goOn := make(chan bool), make(chan bool)
		go func() {
			_ = s.do(context.Background(), call{}, func(t *tx) {
				t.exec(`update operations set closes_at = 1`)
				close(busy)
				<-goOn
			})
		}()
		<-busy
		s.Settle(op.ID, nil, nil)
		closed := make(chan error, 1)
		go func() {
			_, err := s.Expire(context.Background(), 100)
			closed <- err
		}()
		eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.queue) >= 2
		}, "both are queued")
		close(goOn)
		require.NoError(t, <-closed)
		assertLife(t, s, op.ID, lifecycle.Accepted, requested, finished)
	})
}

// The history is read when something is past its time, not each second of the minute before.
func TestHistoryIsReadOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		var reads atomic.Int32
		config.Timeout, config.LateReply = 0, 0
		config.History = func(context.Context) error { reads.Add(1); return nil }
		s := running(t, config)
		w := aWrite(lifecycle.Stop)
		insert(t, s, w, lifecycle.Lead)
		awaitOutcome(t, s, w.ID)
		assert.LessOrEqual(t, reads.Load(), int32(2))
	})
}

// While the history cannot be read, what is past its time stays open; not for ever.
func TestHistoryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	config, l := configFor()
	var offset atomic.Int64
	config.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	var reads atomic.Int32
	config.History = func(context.Context) error {
		reads.Add(1)
		return errors.New("gone")
	}
	s := running(t, config)
	w := aWrite(lifecycle.Start)
	insert(t, s, w, lifecycle.Lead)
	closes := permission + config.Timeout + config.LateReply
	offset.Store(int64(closes + historyGrace - time.Minute))
	eventually(t, func() bool { return reads.Load() >= 2 }, "it is tried again")
	assertLife(t, s, w.ID, "", requested)
	assert.NotContains(t, l.String(), "cannot be read")
	offset.Store(int64(closes + historyGrace + time.Minute))
	awaitOutcome(t, s, w.ID, lifecycle.Unknown)
	assert.Contains(t, l.String(), "the history of replies cannot be read")
}

// What leads since it was found past its time has a new one.
func TestExpireLooksAgain(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	db := prepared(t, config)
	config.Idle = true // nothing else closes
	s := running(t, config)
	one, two := joining(), joining()
	insert(t, s, one, lifecycle.Lead)
	insert(t, s, two, lifecycle.Joined)
	_, err := s.Abandon(t.Context(), one.ID)
	require.NoError(t, err)
	execute(t, db, `update operations set closes_at = 1 where id = $1`, two.ID)
	// Another replica lets it lead.
	other := holding(t, db, `update operations set leader = '', slot = 1, closes_at = 9000000000000000 where id = $1`, two.ID)
	expired := make(chan error, 1)
	go func() { _, err := s.Expire(context.Background(), 10); expired <- err }()
	awaitLock(t, db)
	require.NoError(t, other.Commit())
	require.NoError(t, <-expired)
	op, err := s.find(t.Context(), two.ID)
	require.NoError(t, err)
	assert.Empty(t, op.Outcome, "it closes later")
}

// A clock that is set back, while the store takes no writes at that, makes nothing wait
// longer than from now on.
func TestClockSetBackWhileAway(t *testing.T) {
	t.Parallel()
	config, _ := configFor()
	config.Dir = filepath.Join(t.TempDir(), "data")
	var offset, asked atomic.Int64
	config.Now = func() time.Time {
		asked.Add(1)
		return time.Now().Add(time.Duration(offset.Load()))
	}
	s := running(t, config)
	w := aWrite(lifecycle.Start)
	insert(t, s, w, lifecycle.Lead)
	require.NoError(t, os.Rename(config.Dir, config.Dir+"-moved"))
	require.ErrorIs(t, tryInsert(t, s), ErrUnavailable)
	offset.Store(int64(-48 * time.Hour))
	asked.Store(0)
	eventually(t, func() bool { return asked.Load() >= 5 }, "tend has seen it more than once") // it asks twice each time
	require.NoError(t, os.Rename(config.Dir+"-moved", config.Dir))
	awaitHealthy(t, s)
	eventually(t, func() bool {
		op, err := s.find(t.Context(), w.ID)
		return err == nil && op.ClosesAt.Before(config.Now().Add(time.Hour))
	}, "closes within minutes, not in two days")
}

// What waits since before the clock was set back is due soon, however much it is.
func TestClockSetBackBeforeTheStart(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
		config.Timeout = time.Second
		prepared(t, config, fmt.Sprintf(`insert into operations (id, action, account, outcome, requested_at, ended_at, records, due_since, due_at)
			with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < %d)
			select cast(n as text), 'stop', 'acc' || (n %% 1000), 'accepted', 1, 1, 1, 1, %d from numbers`, 3*many, time.Now().Add(time.Hour).UnixMicro()))
		s := running(t, config)
		eventually(t, func() bool {
			list, err := s.list(t.Context(), `where sent < records and due_at > $1 limit 1`, time.Now().Add(time.Minute).UnixMicro())
			return err == nil && len(list) == 0
		}, "all are due within a minute")
	}, "SQLite")
}

// A gateway whose clock is behind that of the database sends again, and closes, in time.
func TestClockBehindTheDatabase(t *testing.T) {
	onEngines(t, func(t *testing.T, config Config) {
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
		insert(t, s, open, lifecycle.Lead)
		eventually(t, func() bool { return allDelivered(t, s, w.ID) }, "sent again")
		awaitOutcome(t, s, open.ID)
	}, "PostgreSQL")
}

// The wall clock is set forth and back under the store, within a life and between two:
// nothing waits for the clock to come round, nothing is lost or closed twice, and records
// bear the clock's time. A whole process on a stepped clock is not tested: nothing short of
// setting the machine's clock moves it.
func TestClockStep(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	config, _ := configFor()
	config.Dir, config.Timeout, config.LateReply = t.TempDir(), 500*time.Millisecond, 100*time.Millisecond
	var offset atomic.Int64
	config.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	r := &receiver{answer: func(context.Context, sending) error { return nil }}
	var s *Store
	live := func() (stop func()) {
		var err error
		config.Metrics = metrics.NewSet()
		s, err = Open(t.Context(), config)
		require.NoError(t, err)
		return harness.Run(t, s.Run, func(ctx context.Context) error { return s.Deliver(ctx, r.Send) })
	}
	request := func() lifecycle.Write {
		w := aWrite(lifecycle.Start)
		insert(t, s, w, lifecycle.Lead)
		return w
	}
	ended := func(w lifecycle.Write, outcome lifecycle.Outcome) (at time.Time) {
		t.Helper()
		var end sending
		eventually(t, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			i := slices.IndexFunc(r.received, func(c sending) bool { return c.EventID == usage.EventID(w.ID, usage.PhaseEnded) })
			if i >= 0 {
				end = r.received[i]
			}
			return i >= 0
		}, "its terminal record")
		assert.Equal(t, outcome, end.Data.Outcome)
		return end.OccurredAt
	}
	accepted := func(step time.Duration) {
		w := request()
		alter(t, s, `update operations set closes_at = 9000000000000000 where id = $1`, w.ID) // else the step closes it
		offset.Add(int64(step))
		at := config.Now()
		_, err := s.Reply(t.Context(), w.ID, true, End{})
		require.NoError(t, err)
		assert.WithinRange(t, ended(w, lifecycle.Accepted), at.Add(-time.Second), at.Add(harness.WaitLimit), "after a step of %v", step)
	}
	stop := live()
	steps := []time.Duration{0, time.Hour, -2 * time.Hour, 10 * year, -20 * year}
	for _, step := range steps {
		held := request()
		accepted(step)
		ended(held, lifecycle.Unknown)
	}
	// What is open when the process ends is closed by the next, whose clock is far behind.
	open := request()
	stop()
	offset.Add(int64(-3 * year))
	live()
	ended(open, lifecycle.Unknown)
	accepted(0)
	eventually(t, func() bool { return s.Stats().Waiting == 0 }, "nothing waits")
	records, _ := r.bodies()
	assert.Len(t, records, 2*(2*len(steps)+2))
}
