package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// session is the connection for writing with its prepared statements, which
// take most of the time of short transactions away.
type session struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

// abandon ends a transaction that failed. A connection that cannot even do that
// is closed, and so is a session of PostgreSQL where another may be better: its defaults,
// such as to be read-only, are those of when it began.
func (s *Store) abandon(failed error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := s.writing.conn.ExecContext(ctx, "rollback"); err != nil || s.config.URL != "" && faultOf(failed) >= away {
		if s.config.URL == "" {
			_ = s.writing.finalize() // PostgreSQL would be asked, and may not answer
		}
		_ = s.writing.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = s.writing.conn.Close()
		s.writing = nil
	}
}

// finalize closes the statements: as long as one is open, SQLite's connection is.
func (s *session) finalize() (err error) {
	for _, statement := range s.statements {
		err = errors.Join(err, statement.Close())
	}
	return err
}

// transact runs the calls in one transaction, or the first of them where other replicas
// may wait for its locks, and returns what they returned. An error says nothing of what was
// committed.
func (s *Store) transact(batch []*call) (values []any, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := s.files.check(); err != nil { // what is committed to files that are put back later is not told of
		return nil, err
	}
	if err := s.engine.migrate(ctx); err != nil { // the database was away at the start
		return nil, err
	}
	t := &tx{ctx: ctx, store: s, now: s.config.Now().UnixMicro(), delivery: s.delivery.Load()}
	if s.config.URL == "" {
		t.ctx = context.Background() // a goroutine for each statement, which does not end a sync that hangs either
	}
	if err := s.begin(ctx, t); err != nil {
		return nil, err
	}
	committed := false
	defer func() {
		if !committed {
			s.abandon(err)
		}
		if err != nil {
			t.delivery.release(t.leased...)
		}
	}()
	if s.engine.clock != "" {
		t.scan([]any{&t.now}, "select "+s.engine.clock)
	}
	for began := time.Now(); len(values) < len(batch) && (s.config.URL == "" || time.Since(began) < lockTimeout/2); {
		values = append(values, batch[len(values)].do(t))
		if t.failed != nil {
			return nil, t.failed
		}
	}
	s.changes.commits(t.changed)
	defer s.changes.commits(nil)
	s.engine.warned.Store(false)
	if t.exec("commit"); t.failed != nil {
		return nil, t.failed
	}
	committed = true
	if s.engine.warned.Load() { // such as that a synchronous standby has not confirmed: a failover may lose it
		return nil, errors.New("the database confirmed a commit with a warning; its log has it")
	}
	if err := s.files.check(); err != nil {
		return nil, err
	}
	t.delivery.start(t.leased, t.acknowledged)
	s.changed(false, t.changed...)
	for _, op := range t.contradicted {
		s.config.Logger.Warn("a reply contradicts the record of its operation, which stays", "operation", op.ID, "recorded", op.Outcome,
			"do", "see whether two VM integrations answer, or one answers twice; what the runtime did may not be billed")
	}
	if t.left {
		wake(s.wakeDelivery)
	}
	return values, nil
}

// begin begins a transaction: once more on a new session, where that of PostgreSQL
// ended while it was idle. Nothing has been sent by then.
func (s *Store) begin(ctx context.Context, t *tx) error {
	for range 2 {
		if s.writing == nil {
			conn, err := s.engine.write.Conn(ctx)
			if err != nil {
				return err
			}
			s.writing = &session{conn, map[string]*sql.Stmt{}}
		}
		if s.cause != nil && s.config.Dir != "" { // a -wal that has filled the disk begins again, once no other reads it
			_, _ = s.writing.conn.ExecContext(ctx, "pragma wal_checkpoint")
		}
		t.session, t.failed = s.writing, nil
		if t.exec(s.engine.begin); t.failed == nil || s.config.URL == "" {
			return t.failed
		}
		s.abandon(t.failed)
	}
	return t.failed
}

// tx is the transaction that calls share. After an error of the database its methods do
// nothing, and what they return counts for nothing.
type tx struct {
	ctx      context.Context
	session  *session
	store    *Store
	now      int64 // microseconds, by the clock of the database
	failed   error
	delivery *delivery   // nil where records are not delivered, or not now
	leased   []Operation // what delivery sends once the transaction is confirmed
	left     bool        // records are due that are not among them

	acknowledged []string    // accounts of which records are
	changed      []Operation // as they are once the transaction is confirmed
	contradicted []Operation // of which a worker now said something else
}

// probe writes to a store that has failed and has nothing else to write, of a size
// whose success means something.
func (t *tx) probe() any {
	return t.exec(`update store_schema set probe = $1`, strings.Repeat("x", probeBytes))
}

func (t *tx) ago(d time.Duration) int64 { return t.now - d.Microseconds() }

// prepare returns nil after an error.
func (t *tx) prepare(query string) *sql.Stmt {
	if t.failed != nil {
		return nil
	}
	statement := t.session.statements[query]
	if statement == nil {
		if statement, t.failed = t.session.conn.PrepareContext(t.ctx, query); t.failed == nil {
			t.session.statements[query] = statement
		}
	}
	return statement
}

// exec returns how many rows a statement has changed.
func (t *tx) exec(query string, args ...any) (n int64) {
	statement := t.prepare(query)
	if statement == nil {
		return 0
	}
	var result sql.Result
	if result, t.failed = statement.ExecContext(t.ctx, args...); t.failed == nil {
		n, t.failed = result.RowsAffected()
	}
	return n
}

func query[T any](t *tx, scan func(into *T, row func(...any) error) error, query string, args ...any) (list []T) {
	statement := t.prepare(query)
	if statement == nil {
		return nil
	}
	rows, err := statement.QueryContext(t.ctx, args...)
	list, t.failed = collect(rows, err, scan)
	return list
}

// scan reads a row, if the query finds one.
func (t *tx) scan(into []any, text string, args ...any) (found bool) {
	return len(query(t, func(_ *struct{}, row func(...any) error) error { return row(into...) }, text, args...)) > 0
}

// one returns the first operation that a query finds; none where there is none.
func (t *tx) one(where string, args ...any) Operation { return first(t.all(where, args...)) }

func (t *tx) all(where string, args ...any) []Operation {
	return query(t, scanOperation, `select `+operationColumns+` from operations `+where, args...)
}

// fault says what an error of the database means for the store.
type fault int

const (
	refused fault = iota // this statement alone; nothing of its transaction is kept
	passing              // locks that others held; to be repeated
	away                 // no answer, or no room: what was to be committed may have been
	damage               // the content makes no sense
)

func faultOf(err error) fault {
	if errors.Is(err, errDamaged) {
		return damage
	}
	if state := sqlState(err); state != "" {
		switch state {
		case "40001", "40P01", "55P03", "23505", "57014": // serialization, deadlock, lock, unique, timeout
			return passing
		}
		switch state[:2] {
		case "22", "23", "54": // what the statement says, constraints, limits
			return refused
		case "XX":
			return damage
		}
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		switch lite.Code() & 0xff {
		case sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
			return damage
		case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED:
			return passing
		case sqlitelib.SQLITE_CONSTRAINT, sqlitelib.SQLITE_TOOBIG, sqlitelib.SQLITE_MISMATCH, sqlitelib.SQLITE_RANGE:
			return refused
		}
	}
	return away // resources, operator, login, rights, what is not there
}

// sqlState begins with the class of an error of PostgreSQL; empty for any other.
func sqlState(err error) string {
	if postgres, ok := errors.AsType[*pgconn.PgError](err); ok {
		return postgres.Code
	}
	return ""
}
