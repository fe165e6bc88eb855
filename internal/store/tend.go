package store

import (
	"context"
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

const (
	// tendEvery is how often operations past their time are looked for, and
	// pruneEvery how often what is older than it must be is deleted, and parked
	// records that have rested are offered again.
	tendEvery  = time.Second
	pruneEvery = time.Minute
	// historyTimeout bounds a reading of the history.
	historyTimeout = time.Minute
	// historyGrace is how long an operation past its time stays open while the
	// history cannot be read.
	historyGrace = 10 * time.Minute
	// some is how many rows one transaction closes or deletes, and many how many it moves to
	// an earlier time, which are looked for among all that wait.
	some, many = 500, 5000
	// memoryOperations bounds a store in memory.
	memoryOperations = 10_000
)

// count makes the metrics of s.
func (s *Store) count(set *metrics.Set) {
	s.counts = counters{
		commits:   set.NewCounter("bus_vm_store_commits_total"),
		failures:  set.NewCounter("bus_vm_store_commit_failures_total"),
		writes:    set.NewCounter("bus_vm_store_writes_total"),
		delivered: set.NewCounter("bus_vm_usage_delivered_total"),
		retries:   set.NewCounter("bus_vm_usage_retries_total"),
	}
	set.NewGauge("bus_vm_store_healthy", func() float64 { return float64(number(s.Healthy() == nil)) })
	set.NewGauge("bus_vm_store_damaged_files", func() float64 { return float64(len(s.Stats().DamagedFiles)) })
	set.NewGauge("bus_vm_usage_waiting_records", func() float64 { return float64(s.Stats().Waiting) })
	set.NewGauge("bus_vm_usage_parked_records", func() float64 { return float64(s.Stats().Parked) })
	set.NewGauge("bus_vm_usage_oldest_record_age_seconds", func() float64 { return s.Stats().OldestAgeSeconds })
}

// begin is the first thing that a process writes into a data directory: leases of the
// one before it, which is gone, count no longer. Only where its clock was set back are
// there more, which setBack comes to.
func (t *tx) begin() {
	t.exec(`update operations set due_at = $1 where id in (select id from operations where sent < records and parked = '' and due_at > $1 limit $2)`, t.now, many)
	t.left = true
}

// tend does what is to be done from time to time. Its errors are logged by the
// writer, and each thing is done again later.
func (s *Store) tend(ctx context.Context) {
	var was time.Time // zero until what a process before this one wrote has been looked at
	_, _ = s.Retry(ctx)
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	measureAt := time.Now()
	for pruned := time.Now(); ; {
		now := s.config.Now().Round(0)
		var err error
		if was.IsZero() || now.Before(was) {
			_, err = s.repeat(ctx, (*tx).setBack)
		}
		if err == nil {
			was = now
		}
		if began := time.Now(); !began.Before(measureAt) {
			s.measure(ctx)
			measureAt = time.Now().Add(10 * time.Since(began)) // not more than a part of the time goes into figures
		}
		if time.Since(pruned) >= pruneEvery {
			pruned = time.Now()
			_, _ = s.repeat(ctx, (*tx).prune)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// repeat does something to some rows at a time, until there are no more, and returns
// how many there were.
func (s *Store) repeat(ctx context.Context, do func(*tx) int64) (all int64, err error) {
	for n := int64(some); n >= some; {
		n, err = submit(ctx, s, call{order: housekeeping}, do)
		all += n
	}
	return all, err
}

// closing closes what is past its time, and reads the history when the store takes
// writes again. It waits for the worker's replies, and so has a goroutine of its own.
func (s *Store) closing(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		s.close(ctx)
		select {
		case <-ctx.Done():
			return
		case <-s.recovered:
			if s.WantsHistory() {
				_ = s.history(ctx) // it says so itself, and is read before anything is closed
			}
		case <-tick.C:
		}
	}
}

func (s *Store) history(ctx context.Context) error {
	if s.config.History == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	return s.config.History(ctx)
}

// setBack moves some of what is due later than anything begun now would be, in any order:
// the wall clock, which is that of SQLite, was set back. PostgreSQL's is its operator's.
func (t *tx) setBack() (n int64) {
	if t.store.config.URL != "" {
		return 0
	}
	c := t.store.config
	for _, due := range []struct {
		at, where string
		most      time.Duration
	}{
		{"closes_at", "outcome = ''", permission + c.Timeout + c.LateReply},
		{"slot_until", "slot = 1", slotKept},
		{"due_at", "sent < records and parked = ''", max(c.Timeout+leaseSlack, retryMax)},
		{"due_at", "parked <> ''", parkedFor},
	} {
		n = max(n, t.exec(fmt.Sprintf(`update operations set %[1]s = $1 where id in (select id from operations where %[2]s and %[1]s > $1 limit $2)`,
			due.at, due.where), t.now+due.most.Microseconds(), many))
	}
	return n
}

// close closes what is past its time, once the history has been read.
func (s *Store) close(ctx context.Context) {
	list, err := s.list(ctx, `where outcome = '' and closes_at <= `+s.now()+` limit 1`)
	if err != nil || len(list) == 0 {
		return
	}
	if s.history(ctx) != nil { // which says so itself
		old, err := s.list(ctx, `where outcome = '' and closes_at <= `+s.now()+` - $1 limit 1`, historyGrace.Microseconds())
		if err != nil || len(old) == 0 {
			return
		}
		s.config.Logger.Error("the history of replies cannot be read: operations end as unknown that may have been answered",
			"do", "look at the Events API and its replay of reply streams; a reply that it still has corrects them")
	}
	for n := 1; err == nil && n > 0; {
		n, err = s.Expire(ctx, some)
	}
}

const figures = `select coalesce(sum(records - sent), 0), (select count(*) from operations where parked <> ''), coalesce(min(due_since), 0)
	from operations where sent < records`

// measure takes the figures; those of the database stay as they were while it does
// not answer.
func (s *Store) measure(ctx context.Context) {
	list, err := read(ctx, s, func(r *Report, row func(...any) error) error {
		var oldest int64
		err := row(&r.Waiting, &r.Parked, &oldest)
		if oldest > 0 {
			r.OldestAgeSeconds = max(0, s.config.Now().Sub(timeOf(oldest)).Seconds())
		}
		return err
	}, figures)
	now := s.Stats()
	if err == nil {
		now = list[0]
	}
	now.DamagedFiles = s.files.damaged()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = now
}

// Stats returns figures that are a second old at most, while the store answers.
func (s *Store) Stats() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// prune deletes some of what is older than it must be. In memory, the oldest go beyond
// memoryOperations.
func (t *tx) prune() int64 {
	keys := t.exec(`delete from keys where (account, name) in (select account, name from keys where created_at <= $1 limit $2)`,
		t.ago(keyKept), some)
	// In an order that an index has: PostgreSQL would look for any among all rows.
	old := func(column string, most int64) int64 {
		return t.exec(fmt.Sprintf(`delete from operations where id in (select id from operations where ended_at > 0 and %[1]s <= $1
			and sent = records and not exists (select 1 from keys where keys.operation = operations.id) order by %[1]s limit $2)`, column), most, some)
	}
	if t.store.inMemory() {
		var beyond int64 // the last of them
		t.scan([]any{&beyond}, `select coalesce(max(seq), 0) from
			(select seq from operations order by seq limit max(0, (select count(*) from operations) - $1)) as oldest`, memoryOperations*9/10)
		keys = max(keys, old("seq", beyond))
	}
	return max(keys, old("ended_at", t.ago(t.store.config.Keep)))
}

// full reports whether a store in memory is full of what must stay. It looks at every
// 64th insert only: counting takes time.
func (t *tx) full() bool {
	s := t.store
	if !s.inMemory() {
		return false
	}
	if s.inserts++; s.inserts%64 == 1 || s.full {
		var n int
		t.prune()
		t.scan([]any{&n}, `select count(*) from operations`)
		s.full = n >= memoryOperations
	}
	return s.full
}

// Expire closes up to limit operations that have no end past closes_at, and
// returns how many. Before it the history must have been read.
func (s *Store) Expire(ctx context.Context, limit int) (int, error) {
	return submit(ctx, s, call{order: afterOperations}, func(t *tx) (n int) {
		// One that joined has the end of its leader, unless that was not sent, or is gone.
		list := t.all(`where outcome = '' and closes_at <= $1 and (leader = '' or not exists
			(select 1 from operations as leaders where leaders.id = operations.leader and leaders.outcome <> $3))
			order by closes_at limit $2`, t.now, limit, lifecycle.NotSent)
		for began := time.Now(); n < len(list) && time.Since(began) < callTimeout/4; n++ {
			t.end(list[n].ID, expired, End{})
		}
		return n
	})
}
