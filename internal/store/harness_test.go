package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

func TestMain(m *testing.M) {
	// Most tests wait, for the store's timers or for a database.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	postgres.Main(m)
}

// log collects what operators are told.
type log = harness.Output

// configFor is that of a store in memory, with what operators are told of it. A delivery
// has longer than any wait of a test.
func configFor() (Config, *log) {
	l := &log{}
	return Config{
		Records: DeliverRecords, Timeout: 2 * harness.WaitLimit, LateReply: 2 * time.Minute, Keep: 720 * time.Hour,
		Logger: slog.New(slog.NewTextHandler(l, nil)), Metrics: metrics.NewSet(), Now: time.Now,
	}, l
}

// onEngines runs a test on every engine, or on those named, side by side; each has a
// store of its own.
func onEngines(t *testing.T, test func(t *testing.T, config Config), only ...string) {
	t.Parallel()
	for name, place := range map[string]func(*testing.T, *Config){
		"memory":     func(*testing.T, *Config) {},
		"SQLite":     func(t *testing.T, c *Config) { c.Dir = t.TempDir() },
		"PostgreSQL": func(t *testing.T, c *Config) { c.URL = postgres.Database(t) },
	} {
		if len(only) == 0 || slices.Contains(only, name) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				config, _ := configFor()
				place(t, &config)
				test(t, config)
			})
		}
	}
}

// begin opens a store and runs it until end, which returns what Run did.
func begin(t testing.TB, config Config) (s *Store, end func() error) {
	t.Helper()
	s, err := Open(context.Background(), config)
	require.NoError(t, err)
	stop := harness.Run(t, func(ctx context.Context) error { err = s.Run(ctx); return nil })
	return s, func() error { stop(); return err }
}

// running opens a store and runs it until the test ends.
func running(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), config)
	require.NoError(t, err)
	harness.Run(t, s.Run)
	return s
}

// withPostgres is a store in PostgreSQL whose database was prepared, and another way to
// that. It runs until the test ends.
func withPostgres(t *testing.T, prepare ...string) (*Store, *sql.DB) {
	t.Helper()
	config, _ := configFor()
	config.URL = postgres.Database(t)
	db := prepared(t, config, prepare...)
	return running(t, config), db
}

// prepared runs statements in the database of a store that was set up and does not run.
func prepared(t *testing.T, config Config, statements ...string) *sql.DB {
	t.Helper()
	config.Metrics = metrics.NewSet()
	s, err := Open(t.Context(), config)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	db := connect(t, config)
	for _, statement := range statements {
		execute(t, db, statement)
	}
	return db
}

// connect is another way to the database of a store.
func connect(t *testing.T, config Config) *sql.DB {
	t.Helper()
	driver, address := "pgx", config.URL
	if config.Dir != "" {
		driver, address = "sqlite", "file:"+filepath.Join(config.Dir, fileName)
	}
	db, err := sql.Open(driver, address)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

func execute(t *testing.T, db interface {
	Exec(statement string, args ...any) (sql.Result, error)
}, statement string, args ...any) {
	t.Helper()
	_, err := db.Exec(statement, args...)
	require.NoError(t, err, statement)
}

// holding is a transaction of another replica that has run a statement.
func holding(t *testing.T, db *sql.DB, statement string, args ...any) *sql.Tx {
	t.Helper()
	other, err := db.Begin()
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Rollback() }) // unless it has ended
	execute(t, other, statement, args...)
	return other
}

// awaitLock waits until some session of the database waits for a lock.
func awaitLock(t *testing.T, db *sql.DB) {
	t.Helper()
	eventually(t, func() bool {
		var waiting int
		require.NoError(t, db.QueryRow(`select count(*) from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock'`).Scan(&waiting))
		return waiting > 0
	}, "a session waits for a lock")
}

// alter changes rows as no call does.
func alter(t *testing.T, s *Store, statement string, args ...any) {
	t.Helper()
	require.NoError(t, s.do(t.Context(), call{}, func(t *tx) { t.exec(statement, args...) }))
}

func aWrite(action lifecycle.Action) lifecycle.Write {
	return lifecycle.Write{Operation: lifecycle.Operation{ID: uuid.NewString(), Action: action, Account: uuid.NewString(), RequestID: "r"}}
}

// joining is a start of a caller who waits.
func joining() lifecycle.Write {
	w := aWrite(lifecycle.Start)
	w.Join = true
	return w
}

// insert inserts w, whose decision must be want.
func insert(t *testing.T, s *Store, w lifecycle.Write, want lifecycle.Decision) Operation {
	t.Helper()
	d, op, err := s.insert(t.Context(), w)
	require.NoError(t, err)
	require.Equal(t, want, d)
	return op
}

func tryInsert(t *testing.T, s *Store) error {
	t.Helper()
	_, _, err := s.insert(t.Context(), aWrite(lifecycle.Stop))
	return err
}

// acceptedStart inserts a start of an account that is accepted.
func acceptedStart(t *testing.T, s *Store, account string) lifecycle.Write {
	w := aWrite(lifecycle.Start)
	w.Account = account
	insert(t, s, w, lifecycle.Lead)
	_, err := s.Reply(t.Context(), w.ID, true, End{})
	require.NoError(t, err)
	return w
}

const (
	requested = "runtime_start_requested"
	finished  = "runtime_start_finished"
	failed    = "runtime_start_failed"
)

// assertLife looks at the outcome of an operation, and at the event types of its
// records.
func assertLife(t *testing.T, s *Store, id string, outcome lifecycle.Outcome, types ...string) {
	t.Helper()
	op, err := s.find(t.Context(), id)
	require.NoError(t, err)
	var have []string
	for _, r := range op.receipt().Usage {
		have = append(have, r.EventType)
	}
	assert.Equal(t, outcome, op.Outcome)
	assert.Equal(t, types, have)
}

// awaitOutcome waits until an operation has one of these, or any.
func awaitOutcome(t *testing.T, s *Store, id string, outcome ...lifecycle.Outcome) {
	t.Helper()
	eventually(t, func() bool {
		op, err := s.find(t.Context(), id) // which fails while the database is away
		return err == nil && op.Outcome != "" && (len(outcome) == 0 || slices.Contains(outcome, op.Outcome))
	}, "the operation has its end")
}

// awaitWaiter waits until an operation is awaited.
func awaitWaiter(t *testing.T, s *Store, id string) {
	t.Helper()
	eventually(t, func() bool {
		s.changes.mu.Lock()
		defer s.changes.mu.Unlock()
		return len(s.changes.awaited[id]) > 0
	}, "it is awaited")
}

func awaitHealthy(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, func() bool { return s.Healthy() == nil }, "the store is healthy")
}

// expireAll makes everything that is open past its time, and closes it.
func expireAll(t *testing.T, s *Store) {
	t.Helper()
	alter(t, s, `update operations set closes_at = 1`)
	_, err := s.Expire(t.Context(), 100)
	require.NoError(t, err)
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	harness.Eventually(t, what, condition)
}

// receiver is a usage integration: what it answers is told by answer.
type receiver struct {
	answer func(ctx context.Context, s sending) error

	mu       sync.Mutex
	received []sending // acknowledged ones
	tried    int
}

type sending struct {
	id string
	usage.Record
}

var errBusy = errors.New("internal_error")

func (r *receiver) Send(ctx context.Context, id string, record usage.Record) error {
	c := sending{id, record}
	r.mu.Lock()
	r.tried++
	r.mu.Unlock()
	if err := r.answer(ctx, c); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, c)
	return nil
}

func (r *receiver) accounts() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.received {
		names = append(names, c.AccountID)
	}
	return names
}

// bodies are what r has got, by event id, and the ids in their order.
func (r *receiver) bodies() (byID map[string]string, order string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	byID = map[string]string{}
	for _, c := range r.received {
		body, _ := json.Marshal(c.Record)
		byID[c.EventID] = string(body)
		order += c.EventID + " "
	}
	return byID, order
}

// delivering delivers the records of s to r until the test ends.
func delivering(t *testing.T, s *Store, r *receiver) {
	harness.Run(t, func(ctx context.Context) error { return s.Deliver(ctx, r.Send) })
}

func allDelivered(t *testing.T, s *Store, id string) bool {
	op, err := s.find(t.Context(), id)
	require.NoError(t, err)
	records := op.receipt().Usage
	return !slices.ContainsFunc(records, func(r lifecycle.Delivery) bool { return r.DeliveredAt.IsZero() })
}

// Reply writes what the worker said about the operation with that id: accepted
// or rejected. It is kept until the store takes it, whatever the error says, and
// the operation is returned as it is then; none where there is no such id.
func (s *Store) Reply(ctx context.Context, id string, accepted bool, how End) (Operation, error) {
	if accepted {
		return s.end(ctx, id, replyYes, how)
	}
	return s.end(ctx, id, replyNo, how)
}

// Abandon writes that the operation with that id was not published and never
// will be, or that no caller waits for one that joined. It is kept likewise.
func (s *Store) Abandon(ctx context.Context, id string) (Operation, error) {
	return s.end(ctx, id, abandoned, End{})
}

func (s *Store) insert(ctx context.Context, w lifecycle.Write) (lifecycle.Decision, Operation, error) {
	got, err := submit(ctx, s, call{order: orderOf(w)}, func(t *tx) decided { return t.insert(w) })
	return got.Decision, got.Operation, errors.Join(err, got.refused)
}

func (s *Store) decide(ctx context.Context, id string) (lifecycle.Decision, Operation, error) {
	got, err := submit(ctx, s, call{order: atSlot + id}, func(t *tx) decided { return t.decide(id) })
	return got.Decision, got.Operation, err
}
