// Package store keeps what must outlast a process: operations with their usage
// records and idempotency keys. SQLite in the data directory holds them for one
// gateway, SQLite in memory where nothing must last, PostgreSQL for replicas,
// which are one gateway then.
//
// The life of an operation is a small table (life.go, docs/adr/0008-operations.md).
// One writer gathers what waits into one transaction (group commit), and a caller
// returns when the transaction that holds its write is confirmed. No process owns
// an operation: a reply is written by any process that receives it.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

// Records says what becomes of usage records.
type Records int

const (
	NoRecords      Records = iota // there are none
	KeepRecords                   // they are kept for /debug/usage, and sent nowhere
	DeliverRecords                // they are kept until they are acknowledged
)

// Config is what a Store is made of.
type Config struct {
	// URL is a postgres:// URL. Without it the database is in the data directory
	// Dir; without that, in memory.
	URL, Dir string
	Records  Records
	// Timeout bounds the worker request of an operation, and LateReply is how much
	// later its reply still decides the end. All replicas have the same.
	Timeout, LateReply time.Duration
	// Keep is how long ended operations are kept, at least keyKept.
	Keep time.Duration
	// History reads the replies of the worker again, as far back as there are any,
	// and gives them to Settle. It is called before operations are closed, and when the
	// store takes writes again; nil for none.
	History func(ctx context.Context) error
	// Changed is called for each operation that is requested, has ended (once more
	// where that corrects an unknown end) or has reached its target state: once what
	// this process wrote is confirmed, and within two seconds of what other replicas
	// wrote. It is called by one goroutine at a time and must return at once; nil for
	// none. Elsewhere says that another replica wrote it, or a process before this one.
	Changed func(r lifecycle.Receipt, elsewhere bool)
	// Idle is for a command beside the service, or in its place: the store only does
	// what it is told to, and is neither made nor set aside.
	Idle bool
	// Logger gets what operators must know; never a secret.
	Logger *slog.Logger
	// Metrics gets bus_vm_store_… and bus_vm_usage_….
	Metrics *metrics.Set
	// Now is the clock of the process, which is that of SQLite; default time.Now.
	Now func() time.Time
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	config  Config
	engine  *engine
	files   *files
	counts  counters
	changes *changes
	next    func(state, event) (state, effect) // the table; broken by a test on purpose

	batch   int      // the most calls of the next transaction; of the writer alone
	writing *session // likewise
	// Of the writer alone as well: inserts into a store in memory, and whether the
	// last found it full.
	inserts int
	full    bool

	// They have room for one signal; an unread one stands for any number. Stale means
	// that estimate is to be made again.
	wakeWriter, wakeDelivery, recovered, stale chan struct{}

	delivery atomic.Pointer[delivery]           // nil while nothing is delivered
	estimate atomic.Pointer[lifecycle.Estimate] // nil while it is not known
	underWay atomic.Int64                       // operations of this process between Begin and Ended
	ran      atomic.Bool                        // Run or Close was called

	// mu guards what follows. It is never held over I/O.
	mu           sync.Mutex
	closed       bool
	queue        []*call
	delayedSince time.Time // of the first of a queue of delayed calls
	gathering    time.Time // since when a transaction waits for more of them
	cause        error     // why the last transaction failed; nil while the store takes writes
	probeAt      time.Time // when it is tried again
	committing   time.Time // since when a transaction runs; zero when none does
	lockedSince  time.Time // since when locks of others have kept all from being written
	stats        Report
}

type counters struct{ commits, failures, writes, delivered, retries *metrics.Counter }

const (
	openTimeout = 15 * time.Second
	// hangTimeout is how much longer than its statements may take an open or a close
	// is waited for, which no deadline reaches while the disk hangs.
	hangTimeout = time.Second
)

// Open opens the store and sets up its schema. A damaged SQLite database is set
// aside and a new one begun. Errors say what to do.
func Open(ctx context.Context, config Config) (*Store, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var s *Store
	hangs, err := Within(ctx, hangTimeout, func() (err error) {
		s, err = openAny(ctx, config)
		return err
	})
	if hangs { // the process ends: what hangs is left to it
		return nil, fmt.Errorf("the operations store did not open within %s (%w): look at the disk of %s", openTimeout, context.Cause(ctx), config.Dir)
	}
	return s, err
}

// Within returns what do returns, unless that hangs: grace has passed since ctx ended. What
// hangs is left behind.
func Within(ctx context.Context, grace time.Duration, do func() error) (hangs bool, err error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return false, err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return false, err
	case <-time.After(grace):
		return true, nil
	}
}

func openAny(ctx context.Context, config Config) (*Store, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Store{
		config: config, changes: newChanges(), next: next, batch: maxBatch, stale: make(chan struct{}, 1),
		wakeWriter: make(chan struct{}, 1), wakeDelivery: make(chan struct{}, 1), recovered: make(chan struct{}, 1),
	}
	var err error
	switch {
	case config.URL != "":
		if s.engine, err = openPostgres(config.URL); err == nil {
			s.engine.idle = config.Idle
		}
	case config.Dir != "":
		err = s.openFile(ctx)
	default:
		s.engine, err = openSQLite(ctx, "")
	}
	if err == nil {
		err = s.engine.migrate(ctx)
		if config.URL != "" && err != nil && faultOf(err) == away && !errors.Is(err, ErrNewer) && !config.Idle {
			config.Logger.Warn("the database of operations cannot be used; starts and stops are refused until it can", "cause", err,
				"do", s.remedy(err))
			err = nil
		}
	}
	if err == nil {
		err = s.files.check()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the operations store: %w", err), s.release())
	}
	s.count(config.Metrics)
	if !config.Idle && s.files != nil {
		s.keep(call{order: housekeeping}, (*tx).begin)
	}
	return s, nil
}

// openFile opens the database in the data directory, a new one if it is damaged.
func (s *Store) openFile(ctx context.Context) error {
	if s.config.Idle {
		if _, err := os.Stat(filepath.Join(s.config.Dir, fileName)); err != nil {
			return fmt.Errorf("%w: %w", errNoStore, err)
		}
	}
	var err error
	if s.files, err = lockDir(s.config.Dir); err != nil {
		return err
	}
	err = checkFile(ctx, s.files.path())
	if err != nil && faultOf(err) == damage && !s.config.Idle {
		aside, moveErr := s.files.setAside(s.config.Now())
		if moveErr != nil {
			return errors.Join(err, moveErr)
		}
		s.config.Logger.Error("THE OPERATIONS STORE WAS DAMAGED: it is set aside and a new one is begun", "file", aside, "cause", err,
			"do", "keep the file with its -wal: records in it that were not delivered are not billed until someone recovers them")
	} else if err != nil {
		return err
	}
	s.engine, err = openSQLite(ctx, s.files.path())
	return err
}

// Run writes and tends the store until ctx ends and everything queued is written,
// or refused by a store that does not take it.
func (s *Store) Run(ctx context.Context) error {
	s.ran.Store(true)
	hangs, err := Within(ctx, 2*callTimeout+hangTimeout, func() error { // for what runs, and what is queued
		var tending sync.WaitGroup
		if !s.config.Idle {
			tending.Go(func() { s.tend(ctx) })
			tending.Go(func() { s.closing(ctx) })
			tending.Go(func() { s.observe(ctx) })
		}
		s.write(ctx)
		tending.Wait()
		return s.release()
	})
	if hangs {
		return fmt.Errorf("the operations store hangs and is left behind: %s", s.Left())
	}
	return err
}

// Left says what would be left behind if the process ended now. What is not
// written the next start finds in the history, and what is not delivered it
// delivers.
func (s *Store) Left() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []string
	if n := s.stats.Waiting; n > 0 && s.config.Records == DeliverRecords {
		left = append(left, fmt.Sprintf("%d usage records to be delivered", n))
	}
	if n := len(s.queue); n > 0 {
		left = append(left, fmt.Sprintf("%d writes of the operations store", n))
	}
	if !s.committing.IsZero() {
		left = append(left, fmt.Sprintf("the operations store, in a transaction since %s", time.Since(s.committing).Round(time.Millisecond)))
	}
	return strings.Join(left, ", ")
}

// Close releases a store whose Run was never called; Run closes its own.
func (s *Store) Close() error {
	if s.ran.Swap(true) {
		return nil
	}
	s.giveUp()
	return s.release()
}

func (s *Store) release() (err error) {
	// The last connection to SQLite moves the -wal into the database and removes
	// it, by its name: not where another store may be by now.
	if s.writing != nil && s.files.check() == nil {
		err = errors.Join(s.writing.finalize(), s.writing.conn.Close())
	}
	if s.engine != nil {
		err = errors.Join(err, s.engine.close())
	}
	if s.config.URL != "" {
		err = nil // a session of PostgreSQL that ended by itself took nothing with it
	}
	if s.files != nil {
		err = errors.Join(err, s.files.lock.Close())
	}
	return err
}

// Healthy returns nil while the store takes writes, else why not.
func (s *Store) Healthy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	case s.cause != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, s.cause)
	case !s.committing.IsZero() && time.Since(s.committing) > 2*callTimeout:
		return fmt.Errorf("%w: one transaction has been running for %s", ErrUnavailable, time.Since(s.committing).Round(time.Second))
	}
	return nil
}

// remedy is what an operator can do about a store that does not take writes.
func (s *Store) remedy(err error) string {
	switch {
	case sqlState(err) == "42P01": // no such table
		return "bring the tables of the store back, from a backup perhaps, or restart the service: it then begins a new store, and records that were not delivered are not billed"
	case errors.Is(err, errGone):
		return "put the file back, or restart the service: it then begins a new store"
	case s.config.URL != "":
		return "let the PostgreSQL server that store.url names answer, and admit its user to its database: it is tried every second; or correct store.url and restart"
	case faultOf(err) == damage:
		return "restart the service: it sets the damaged file aside and says where"
	}
	return "free space on the disk of " + s.config.Dir + ", or make it writable; nothing else is to be done here"
}

func (s *Store) inMemory() bool { return s.config.URL == "" && s.config.Dir == "" }

func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}
