// Package postgres runs a real PostgreSQL for tests, that of the system (Debian's
// package), as a user of its own where the tests run as root.
package postgres

import (
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// Server is a running PostgreSQL.
type Server struct {
	t         testing.TB
	bin, data string
	port      string
	asUser    *syscall.Credential // nil for the tests' own
	process   *exec.Cmd
	databases atomic.Int32
}

// startTimeout is how long a server may take to answer. On a busy disk it takes more
// than a minute.
const startTimeout = 3 * time.Minute

// Start runs a server until the test ends. Without PostgreSQL the test is
// skipped, or fails where CI is set.
func Start(t testing.TB) *Server {
	t.Helper()
	s := launch(t)
	t.Cleanup(s.remove)
	return s
}

// shared is the server of Database.
var shared struct {
	once   sync.Once
	server *Server
}

// Database makes an empty database on a server that all tests of a binary share,
// and returns its URL. Main ends the server.
func Database(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.server = launch(t) })
	if shared.server == nil {
		t.Skip("no PostgreSQL on this machine: apt-get install postgresql")
	}
	return shared.server.database(t)
}

// Main runs the tests of a binary that uses Database.
func Main(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.remove()
	}
	os.Exit(code)
}

func (s *Server) remove() {
	s.Kill()
	_ = os.RemoveAll(s.data)
}

func launch(t testing.TB) *Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("PostgreSQL is missing: apt-get install postgresql")
		}
		t.Skip("no PostgreSQL on this machine: apt-get install postgresql")
	}
	s := place(t, filepath.Dir(found[len(found)-1]))
	s.tool("initdb", "-D", s.data, "-U", "bus", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	s.Run()
	return s
}

// place is where a server may run.
func place(t testing.TB, bin string) *Server {
	t.Helper()
	s := &Server{t: t, bin: bin}
	var err error
	s.data, err = os.MkdirTemp("", "postgres-") // that of t is for its user alone
	require.NoError(t, err)
	if os.Getuid() == 0 { // which it refuses to run as
		owner, err := user.Lookup("postgres")
		require.NoError(t, err)
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(owner.Gid)
		require.NoError(t, os.Chown(s.data, uid, gid))
		s.asUser = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	_, s.port, _ = net.SplitHostPort(harness.FreeAddress(t))
	return s
}

// Standby runs a standby of s until the test ends, which each commit of s waits for.
func (s *Server) Standby() *Server {
	s.t.Helper()
	standby := place(s.t, s.bin)
	s.t.Cleanup(standby.remove)
	s.tool("pg_basebackup", "-D", standby.data, "-h", "127.0.0.1", "-p", s.port, "-U", "bus", "-R", "-c", "fast", "--no-sync")
	standby.Run()
	db, err := sql.Open("pgx", s.url("postgres"))
	require.NoError(s.t, err)
	defer db.Close()
	for _, statement := range []string{"alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"} {
		_, err = db.Exec(statement)
		require.NoError(s.t, err)
	}
	require.Eventually(s.t, func() bool {
		var synchronous int
		return db.QueryRow("select count(*) from pg_stat_replication where sync_state = 'sync'").Scan(&synchronous) == nil && synchronous == 1
	}, startTimeout, 20*time.Millisecond, "the standby follows")
	return standby
}

// Promote makes the standby of s, which is gone, the primary.
func (s *Server) Promote() { s.t.Helper(); s.tool("pg_ctl", "promote", "-w", "-D", s.data) }

// Either is the URL of a database on s or on other, whichever takes writes.
func (s *Server) Either(other *Server, database string) string {
	return fmt.Sprintf("postgres://bus@127.0.0.1:%s,127.0.0.1:%s%s&target_session_attrs=read-write", s.port, other.port, database[strings.LastIndexByte(database, '/'):])
}

func (s *Server) tool(name string, args ...string) {
	s.t.Helper()
	out, err := s.command(name, args...).CombinedOutput()
	require.NoError(s.t, err, "%s", out)
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.asUser, Setpgid: true}
	c.Dir = "/"
	return c
}

// Run starts the server, also after Kill, and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	_ = os.Remove(filepath.Join(s.data, "postmaster.pid")) // what Kill left
	var log bytes.Buffer
	s.process = s.command("postgres", "-D", s.data, "-h", "127.0.0.1", "-p", s.port, "-k", s.data, "-c", "max_connections=100",
		"-c", "recovery_init_sync_method=syncfs") // else a restart syncs each file of each database
	s.process.Stdout, s.process.Stderr = &log, &log
	require.NoError(s.t, s.process.Start())
	db, err := sql.Open("pgx", s.url("postgres"))
	require.NoError(s.t, err)
	defer db.Close()
	if !assert.Eventually(s.t, func() bool { return db.Ping() == nil }, startTimeout, 20*time.Millisecond, "PostgreSQL answers") {
		s.Kill()
		s.t.Fatal(&log)
	}
}

// Kill ends the server and all of its sessions as kill -9 does.
func (s *Server) Kill() { s.signal(syscall.SIGKILL); _ = s.process.Wait() }

// Freeze stops the server and its sessions: they accept, and answer nothing.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// signal reaches the sessions too, whose process groups are their own.
func (s *Server) signal(number syscall.Signal) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.process.Process.Pid, s.process.Process.Pid))
	_ = s.process.Process.Signal(number)
	for _, child := range bytes.Fields(children) {
		if pid, err := strconv.Atoi(string(child)); err == nil {
			_ = syscall.Kill(pid, number)
		}
	}
}

func (s *Server) url(database string) string {
	return fmt.Sprintf("postgres://bus@127.0.0.1:%s/%s?sslmode=disable", s.port, database)
}

// Database makes an empty database and returns its URL.
func (s *Server) Database() string { return s.database(s.t) }

func (s *Server) database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open("pgx", s.url("postgres"))
	require.NoError(t, err)
	defer db.Close()
	name := fmt.Sprintf("bus%d", s.databases.Add(1))
	_, err = db.Exec("create database " + name)
	require.NoError(t, err)
	return s.url(name)
}
