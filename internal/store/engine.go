package store

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
)

//go:embed schema.sql
var schema string

// schemaVersion is that of schema.sql. A release reads its own and older ones.
const schemaVersion = 1

// engine is what differs between SQLite and PostgreSQL. Statements are the same.
type engine struct {
	write, read *sql.DB
	serial      string   // the type of a key that counts
	begin       string   // begins a transaction that writes
	forUpdate   string   // locks the rows that a query finds, in their order; SQLite has one writer anyway
	skipLocked  string   // locks those that no other has locked
	clock       string   // an expression for the time in microseconds; empty for the process's own
	lock        []string // statements that let one process at a time set up the schema
	idle        bool     // makes no schema
	migrated    bool
	warned      atomic.Bool // by PostgreSQL, since it was cleared
}

const (
	// callTimeout bounds each statement, and how long a caller waits.
	callTimeout = 2 * time.Second
	// A session of PostgreSQL gives up by itself, so that a frozen process blocks
	// no other for longer.
	statementTimeout = 1500 * time.Millisecond
	lockTimeout      = 200 * time.Millisecond
	readers          = 4 // connections for reads
	// logLimit is what is left of a -wal that has grown beyond it, in bytes.
	logLimit = 16 << 20
)

// openDatabase does not look at the file yet, and so cannot fail: the driver is there.
func openDatabase(path string, query url.Values) *sql.DB {
	db, _ := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query.Encode())
	return db
}

// openSQLite opens the database in a file, or in memory for an empty path.
func openSQLite(ctx context.Context, path string) (*engine, error) {
	_, _ = sqlite.Fdatasync(true) // no less durable than fsync, without its timestamps; an error on macOS, which syncs in its own way
	inMemory := path == ""
	query := url.Values{"_pragma": {"busy_timeout(1000)", "synchronous(FULL)", "journal_mode(WAL)", fmt.Sprintf("journal_size_limit(%d)", logLimit)}}
	if inMemory {
		path = "/" + uuid.NewString()
		query = url.Values{"_pragma": {"busy_timeout(1000)"}, "vfs": {"memdb"}} // shared by the connections of this process
	}
	write := openDatabase(path, query)
	if !inMemory {
		query.Set("mode", "rw") // a reader makes no new database where the file is gone
	}
	read := openDatabase(path, query)
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	e := &engine{write: write, read: read, serial: "integer primary key", begin: "begin immediate"}
	var mode string
	err := write.QueryRowContext(ctx, "pragma journal_mode").Scan(&mode)
	if err == nil && mode != "wal" && !inMemory {
		err = fmt.Errorf("SQLite has journal_mode = %s instead of wal; a file system that cannot do this cannot hold the store", mode)
	}
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// openPostgres connects to the database at a postgres:// URL.
func openPostgres(address string) (*engine, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the store URL cannot be read") // the cause may quote a password
	}
	hosts := map[pgconn.FallbackConfig]bool{{Host: config.Host, Port: config.Port}: true}
	for _, other := range config.Fallbacks { // each host twice, where TLS is optional
		hosts[pgconn.FallbackConfig{Host: other.Host, Port: other.Port}] = true
	}
	config.ConnectTimeout = callTimeout / time.Duration(len(hosts)) // so that one is reached behind one that is silent
	config.RuntimeParams["statement_timeout"] = statementTimeout.String()
	config.RuntimeParams["lock_timeout"] = lockTimeout.String()
	config.RuntimeParams["idle_in_transaction_session_timeout"] = callTimeout.String()
	// Whatever the defaults of the role and the database are: who waited for a lock must see
	// what its holder wrote, and a commit that no standby confirmed is told of in a warning.
	config.RuntimeParams["default_transaction_isolation"] = "read committed"
	config.RuntimeParams["client_min_messages"] = "warning"
	e := &engine{
		serial: "bigint generated always as identity primary key", begin: "begin", forUpdate: " order by id for update", skipLocked: " for update skip locked",
		clock: "(extract(epoch from clock_timestamp()) * 1000000)::bigint",
		// Who sets it up may take longer than the locks of an operation may.
		lock: []string{"set local lock_timeout = '10s'", "set local statement_timeout = '10s'", "select pg_advisory_xact_lock(7351836902)"},
	}
	e.read = stdlib.OpenDB(*config)
	e.read.SetMaxOpenConns(readers)
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if notice.SeverityUnlocalized == "WARNING" {
			e.warned.Store(true)
		}
	}
	e.write = stdlib.OpenDB(*config)
	e.write.SetMaxOpenConns(1)
	e.write.SetMaxIdleConns(-1) // see abandon
	return e, nil
}

// Survey is what a PostgreSQL server says of itself.
type Survey struct {
	Version           int // as server_version_num: 150003 for 15.3
	ReadOnly          bool
	SynchronousCommit string
	Standbys          string // synchronous_standby_names
	MayCreate         bool   // tables, in the schema that comes first
	Took              time.Duration
}

// Ask asks the server at a postgres:// URL, and changes nothing. Its error may be
// ErrNewer.
func Ask(ctx context.Context, address string) (s Survey, err error) {
	e, err := openPostgres(address)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err = e.sets(ctx); err != nil {
		return s, err
	}
	var ours bool
	began := time.Now()
	err = e.read.QueryRowContext(ctx, `select current_setting('server_version_num')::int,
		pg_is_in_recovery() or current_setting('transaction_read_only')::bool, current_setting('synchronous_commit'),
		current_setting('synchronous_standby_names'), coalesce(has_schema_privilege(current_schema(), 'create'), false),
		to_regclass('store_schema') is not null`).Scan(&s.Version, &s.ReadOnly, &s.SynchronousCommit, &s.Standbys, &s.MayCreate, &ours)
	s.Took = time.Since(began)
	if err != nil || !ours {
		return s, err
	}
	s.MayCreate = true // they are there already
	var version int
	if err = e.read.QueryRowContext(ctx, `select version from store_schema`).Scan(&version); err == nil && version > schemaVersion {
		err = ErrNewer
	}
	return s, err
}

func (e *engine) close() error { return errors.Join(e.read.Close(), e.write.Close()) }

// errPooler: what must bound the locks of a frozen process does not.
var errPooler = errors.New("a connection pooler keeps what a session sets from PostgreSQL: let store.url name the server itself")

// sets returns errPooler unless sessions of PostgreSQL have what they are begun with.
func (e *engine) sets(ctx context.Context) error {
	if e.clock == "" {
		return nil
	}
	var has string
	err := e.read.QueryRowContext(ctx, `select current_setting('lock_timeout')`).Scan(&has)
	switch state := sqlState(err); {
	case err == nil && has != lockTimeout.String():
		return errPooler
	case state == "08P01" || state == "42P05": // it refuses them, or shares one session
		return fmt.Errorf("%w: %w", errPooler, err)
	}
	return err
}

// errNoStore: the service has not made it.
var errNoStore = errors.New("there is no operations store")

// ErrNewer: a newer release wrote the schema.
var ErrNewer = errors.New("a newer release wrote the operations store; run that one, or give this one a store of its own")

// migrate sets up the schema, once although several processes start at the same time.
func (e *engine) migrate(ctx context.Context) error {
	if e.migrated {
		return nil
	}
	if err := e.sets(ctx); err != nil {
		return err
	}
	tx, err := e.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	run := func(statements ...string) (err error) {
		for _, statement := range statements {
			if err == nil && strings.TrimSpace(statement) != "" {
				_, err = tx.ExecContext(ctx, statement)
			}
		}
		return err
	}
	if err := run(e.lock...); err != nil {
		return err
	}
	there := false
	if e.clock != "" { // in any schema of the search path, to which another may have been added in front
		err = tx.QueryRowContext(ctx, `select to_regclass('store_schema') is not null`).Scan(&there)
	}
	switch {
	case err == nil && !there && e.idle:
		err = fmt.Errorf("%w in the database of store.url", errNoStore)
	case err == nil && !there:
		err = run(`create table if not exists store_schema (version integer not null, probe text not null default '')`)
	}
	if err != nil {
		return err
	}
	version := 0
	err = tx.QueryRowContext(ctx, `select version from store_schema`).Scan(&version)
	switch {
	case version > schemaVersion:
		return ErrNewer
	case version == 0 && errors.Is(err, sql.ErrNoRows):
		if err = run(strings.Split(strings.ReplaceAll(schema, "SERIAL", e.serial), ";")...); err == nil {
			_, err = tx.ExecContext(ctx, `insert into store_schema (version) values ($1)`, schemaVersion)
		}
	}
	if err == nil {
		err = tx.Commit()
	}
	e.migrated = err == nil
	return err
}

// errDamaged is found by checkFile.
var errDamaged = errors.New("the database is damaged")

// checkFile reads all of a database that exists, without changing a byte of it or
// of its -wal, as a connection that may write would.
func checkFile(ctx context.Context, path string) error {
	// A process that was killed while it created the database left a journal, which
	// is to be rolled back. There is none later.
	_, err := os.Stat(path + "-journal")
	creating := err == nil
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && info.Size() == 0 && !creating: // to SQLite, a new one
		return fmt.Errorf("%w: it is empty", errDamaged)
	}
	mode := "ro"
	if creating {
		mode = "rw"
	}
	db := openDatabase(path, url.Values{"_pragma": {"busy_timeout(1000)"}, "mode": {mode}})
	defer db.Close()
	var result string
	if err := db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, result)
	}
	return nil
}

// The files of the data directory. SQLite adds -wal and -shm to the first.
const (
	fileName     = "operations.db"
	damagedInfix = ".damaged-" // then the time, in the names of files that were set aside
)

// ErrInUse: another process, the service perhaps, has the store.
var ErrInUse = errors.New("the data directory is in use by another process")

// errGone: what SQLite writes to is no longer where the next start looks.
var errGone = errors.New("the file of the store was removed or replaced")

// files are those of a data directory; nil for a store without one.
type files struct {
	dir  string
	lock *os.File       // the directory itself: a file in it could be removed as out of date
	seen [2]os.FileInfo // the database and its -wal, which SQLite keeps open
}

// lockDir makes the data directory and locks it for as long as the process
// lives, or until close.
func lockDir(dir string) (*files, error) {
	unusable := func(err error) error {
		return fmt.Errorf("the data directory %s cannot be used: make it writable for this user, or name another (--data-dir, BUS_VM_DATA_DIR): %w", dir, err)
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = syscall.Access(dir, 2) // whether files may be made there
	}
	if err != nil {
		return nil, unusable(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, unusable(err)
	}
	if OnNetwork(dir) {
		return nil, errors.Join(unusable(errors.New("it is on a network file system, whose locks are not those of one machine")), f.Close())
	}
	// A process that is just ending may hold it a moment longer.
	for deadline := time.Now().Add(callTimeout); ; time.Sleep(callTimeout / 40) {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return &files{dir: dir, lock: f}, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(unusable(err), f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("%w: %s: stop that process, or give this one a directory of its own (--data-dir, BUS_VM_DATA_DIR)",
				ErrInUse, dir), f.Close())
		}
	}
}

// networkDisks are NFS, SMB 1, CIFS and SMB 2, by the numbers of Linux (statfs(2)), which
// no other system has.
var networkDisks = []uint32{0x6969, 0x517b, 0xff534d42, 0xfe534d42}

// OnNetwork reports a directory that SQLite cannot be in: the lock of its user would
// count for one machine alone, and so would the memory that its connections share.
func OnNetwork(dir string) bool {
	var disk syscall.Statfs_t
	return syscall.Statfs(dir, &disk) == nil && slices.Contains(networkDisks, uint32(disk.Type))
}

// Held reports whether a process has the data directory.
func Held(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false // there is none, or the caller cannot use it anyway
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func (f *files) path() string { return filepath.Join(f.dir, fileName) }

// check returns errGone when a commit would go into files that the next start does not
// find: others than at its first call.
func (f *files) check() error {
	if f == nil {
		return nil
	}
	for i, suffix := range []string{"", "-wal"} {
		now, err := os.Stat(f.path() + suffix)
		if err == nil && f.seen[i] == nil {
			f.seen[i] = now
		}
		if err != nil || !os.SameFile(now, f.seen[i]) {
			return fmt.Errorf("%w: %s%s", errGone, f.path(), suffix)
		}
	}
	return nil
}

// setAside renames a damaged database and what belongs to it, and returns where
// it is. A -wal whose database is gone would be applied to the new one.
func (f *files) setAside(now time.Time) (aside string, err error) {
	aside = f.path() + damagedInfix + now.UTC().Format("20060102T150405.000000Z")
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if renameErr := os.Rename(f.path()+suffix, aside+suffix); !errors.Is(renameErr, fs.ErrNotExist) {
			err = errors.Join(err, renameErr)
		}
	}
	return aside, errors.Join(err, f.lock.Sync())
}

// damaged lists the databases that were set aside and are still there.
func (f *files) damaged() []string {
	paths := []string{}
	if f == nil {
		return paths
	}
	names, _ := fs.Glob(os.DirFS(f.dir), fileName+damagedInfix+"*Z") // a directory that cannot be read fails the next commit
	for _, name := range names {
		paths = append(paths, filepath.Join(f.dir, name))
	}
	return paths
}
