package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"time"
)

// session is the connection for writing with its prepared statements, which
// take most of the time of short transactions away.
type session struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

func (s *Store) session(ctx context.Context) (*session, error) {
	if s.writing == nil {
		conn, err := s.engine.write.Conn(ctx)
		if err != nil {
			return nil, err
		}
		s.writing = &session{conn, map[string]*sql.Stmt{}}
	}
	return s.writing, nil
}

// abandon ends a transaction that failed. A connection that cannot even do that
// is closed.
func (s *Store) abandon(failed *session) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := failed.conn.ExecContext(ctx, "rollback"); err != nil {
		if s.config.URL == "" {
			_ = failed.finalize() // PostgreSQL would be asked, and may not answer
		}
		_ = failed.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = failed.conn.Close()
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

func (s *session) prepare(ctx context.Context, query string) (_ *sql.Stmt, err error) {
	statement := s.statements[query]
	if statement == nil {
		if statement, err = s.conn.PrepareContext(ctx, query); err == nil {
			s.statements[query] = statement
		}
	}
	return statement, err
}

// transact runs the calls in one transaction, or the first of them where other replicas
// may wait for its locks. An error in a result is that of a call that wrote nothing; err
// is one of the database, which says nothing of what was committed.
func (s *Store) transact(batch []*call) (results []result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := s.files.check(); err != nil {
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
	committed, confirmed := false, false
	defer func() {
		if !committed {
			s.abandon(t.session)
		}
		if !confirmed {
			t.delivery.release(t.claims...)
		}
	}()
	if s.engine.clock != "" {
		if _, err := t.scan([]any{&t.now}, "select "+s.engine.clock); err != nil {
			return nil, err
		}
	}
	for began := time.Now(); len(results) < len(batch) && (s.config.URL == "" || time.Since(began) < lockTimeout/2); {
		value, err := batch[len(results)].do(t)
		if t.failed != nil {
			return nil, t.failed
		}
		results = append(results, result{value, err})
	}
	s.changes.commits(t.changed)
	defer s.changes.commits(nil)
	s.engine.warned.Store(false)
	if _, err := t.exec("commit"); err != nil {
		return nil, err
	}
	committed = true
	if s.engine.warned.Load() {
		return nil, errWarned
	}
	if err := s.files.check(); err != nil {
		return nil, err
	}
	confirmed = true
	t.delivery.hand(t.claims, t.acknowledged)
	s.changed(false, t.changed...)
	if t.left {
		wake(s.wakeDelivery)
	}
	return results, nil
}

// begin begins a transaction: once more on a new session, where that of PostgreSQL
// ended while it was idle. Nothing has been sent by then.
func (s *Store) begin(ctx context.Context, t *tx) (err error) {
	for range 2 {
		if t.session, err = s.session(ctx); err != nil {
			return err
		}
		t.failed = nil
		if _, err = t.exec(s.engine.begin); err == nil || s.config.URL == "" {
			return err
		}
		s.abandon(t.session)
	}
	return err
}

// tx is the transaction that calls share. Its methods note an error of the
// database, which ends it.
type tx struct {
	ctx      context.Context
	session  *session
	store    *Store
	now      int64 // microseconds, by the clock of the database
	failed   error
	delivery *delivery   // nil where records are not delivered, or not now
	claims   []Operation // what delivery gets once the transaction is confirmed
	left     bool        // records are due that are not among them

	acknowledged []string    // accounts of which records are
	changed      []Operation // as they are once the transaction is confirmed
}

func (t *tx) note(err error) error {
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return err
}

// probe writes to a store that has failed and has nothing else to write, of a size
// whose success means something.
func (t *tx) probe() (any, error) {
	return t.exec(`update store_schema set probe = $1`, strings.Repeat("x", probeBytes))
}

func (t *tx) ago(d time.Duration) int64 { return t.now - d.Microseconds() }

func (t *tx) exec(query string, args ...any) (n int64, err error) {
	statement, err := t.session.prepare(t.ctx, query)
	if t.note(err) != nil {
		return 0, err
	}
	result, err := statement.ExecContext(t.ctx, args...)
	if err == nil {
		n, err = result.RowsAffected()
	}
	return n, t.note(err)
}

func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	statement, err := t.session.prepare(t.ctx, query)
	if t.note(err) != nil {
		return nil, err
	}
	rows, err := statement.QueryContext(t.ctx, args...)
	return rows, t.note(err)
}

// scan reads a row, if the query finds one.
func (t *tx) scan(into []any, query string, args ...any) (found bool, err error) {
	rows, err := t.query(query, args...)
	list, err := collect(rows, err, func(row func(...any) error) (any, error) { return nil, row(into...) })
	return len(list) > 0, t.note(err)
}

// one returns the first operation that a query finds; none where there is none.
func (t *tx) one(where string, args ...any) (Operation, error) {
	list, err := t.all(where, args...)
	return first(list), err
}

func (t *tx) all(where string, args ...any) ([]Operation, error) {
	return t.operations(`select `+operationColumns+` from operations `+where, args...)
}

// operations reads operationColumns.
func (t *tx) operations(query string, args ...any) ([]Operation, error) {
	rows, err := t.query(query, args...)
	list, err := collect(rows, err, scanOperation)
	return list, t.note(err)
}
