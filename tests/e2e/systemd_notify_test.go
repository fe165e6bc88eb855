package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// manager stands where systemd would: it hears what a service tells
// (sd_notify(3)).
type manager struct {
	path   string
	socket *net.UnixConn
}

func newManager(t testing.TB) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(t.TempDir(), "notify")}
	var err error
	m.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.socket.Close() })
	return m
}

// env makes a service talk to the manager.
func (m *manager) env(more ...string) []string {
	return append([]string{"NOTIFY_SOCKET=" + m.path}, more...)
}

// next is the next message, as its lines in order.
func (m *manager) next(t testing.TB) []string {
	t.Helper()
	return m.within(t, harness.WaitLimit)
}

func (m *manager) within(t testing.TB, limit time.Duration) []string {
	t.Helper()
	require.NoError(t, m.socket.SetReadDeadline(time.Now().Add(limit)))
	buffer := make([]byte, 4096)
	n, err := m.socket.Read(buffer)
	require.NoError(t, err, "no message within %s", limit)
	return strings.Split(strings.TrimSpace(string(buffer[:n])), "\n")
}

// silent expects no message for a while.
func (m *manager) silent(t testing.TB, d time.Duration) {
	t.Helper()
	require.NoError(t, m.socket.SetReadDeadline(time.Now().Add(d)))
	buffer := make([]byte, 4096)
	n, err := m.socket.Read(buffer)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "%s", buffer[:n])
}

var monotonicLine = regexp.MustCompile(`^MONOTONIC_USEC=([0-9]+)$`)

// reloaded expects what Type=notify-reload waits for: RELOADING=1 with a time
// on the monotonic clock that is not before the request, then READY=1
// (systemd.service(5)). A reload that somebody else caused before counts as
// little here as it does for systemd.
func (m *manager) reloaded(t testing.TB, requested int64) {
	t.Helper()
	for at := int64(0); at < requested; {
		lines := m.next(t)
		require.Len(t, lines, 2)
		require.Equal(t, "RELOADING=1", lines[0])
		match := monotonicLine.FindStringSubmatch(lines[1])
		require.NotNil(t, match, lines[1])
		var err error
		at, err = strconv.ParseInt(match[1], 10, 64)
		require.NoError(t, err)
		require.LessOrEqual(t, at, monotonic(t))
		require.Equal(t, []string{"READY=1"}, m.next(t))
	}
}

// monotonic is the clock that systemd compares with, in microseconds.
func monotonic(t testing.TB) int64 {
	t.Helper()
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano() / int64(time.Microsecond)
}

// A whole life: ready once requests are answered, each reload from its begin to
// its end, a failed one too, and the end.
func TestServiceTellsItsManager(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	config := writeYAML(t, "log.level", "info")
	socket := filepath.Join(t.TempDir(), "vm.sock")
	g := begin(t, m.env("BUS_VM_LOG_LEVEL="), "--config", config, "--addr", "unix:"+socket)
	require.Equal(t, []string{"READY=1"}, m.next(t))
	require.Equal(t, okReady, ask(t, socket, request("GET /readyz", "")), "READY=1 was sent before requests are answered")
	require.NotContains(t, g.stderr.String(), "level=DEBUG")

	replace(t, config, "log:\n  level: debug\n")
	before := monotonic(t)
	g.signal(t, syscall.SIGHUP)
	m.reloaded(t, before)
	_ = ask(t, socket, request("GET "+statusPath, "not.a.token"))
	harness.Eventually(t, "the new settings were in force when READY=1 was sent", func() bool { // the log comes by another pipe
		return strings.Contains(g.stderr.String(), "level=DEBUG")
	})

	replace(t, config, "log:\n  level: loud\n")
	before = monotonic(t)
	g.signal(t, syscall.SIGHUP)
	m.reloaded(t, before)
	require.Equal(t, okReady, ask(t, socket, request("GET /readyz", "")))

	g.signal(t, syscall.SIGTERM)
	require.Equal(t, []string{"STOPPING=1"}, m.next(t))
	require.Equal(t, 0, g.wait(t))
}

// The watchdog is fed twice within its time, also while the service drains, and
// no longer once the process hangs.
func TestWatchdogIsFed(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	m := newManager(t)
	g := serve(t, m.env("WATCHDOG_USEC="+strconv.FormatInt(limit.Microseconds(), 10)), "--shutdown-delay", "1h")
	require.Equal(t, 1, m.fed(t, 4, limit)["READY=1"])
	g.signal(t, syscall.SIGTERM)
	require.Equal(t, 1, m.fed(t, 4, limit)["STOPPING=1"])

	g.signal(t, syscall.SIGSTOP)
	for m.heard(t) { // what was on its way
	}
	m.silent(t, limit)
	g.signal(t, syscall.SIGCONT)
	require.Equal(t, []string{"WATCHDOG=1"}, m.next(t))
	g.signal(t, syscall.SIGTERM)
	g.wait(t)
}

// fed counts messages until the watchdog was fed a number of times, and expects
// that this takes no longer than systemd would wait.
func (m *manager) fed(t testing.TB, times int, limit time.Duration) map[string]int {
	t.Helper()
	began := time.Now()
	heard := map[string]int{}
	for heard["WATCHDOG=1"] < times {
		heard[strings.Join(m.next(t), " ")]++
	}
	require.Less(t, time.Since(began), time.Duration(times)*limit)
	return heard
}

// heard takes one message that is already there.
func (m *manager) heard(t testing.TB) bool {
	t.Helper()
	const atOnce = 50 * time.Millisecond
	require.NoError(t, m.socket.SetReadDeadline(time.Now().Add(atOnce)))
	_, err := m.socket.Read(make([]byte, 4096))
	return err == nil
}

// A watchdog that belongs to another process is not fed (sd_watchdog_enabled(3)).
func TestWatchdogOfAnotherProcessIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	serve(t, m.env("WATCHDOG_USEC=200000", "WATCHDOG_PID=1"))
	require.Equal(t, []string{"READY=1"}, m.next(t))
	m.silent(t, 500*time.Millisecond)
}
