package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// reloaded expects what Type=notify-reload waits for: RELOADING=1 with a time
// on the monotonic clock that is not before the request, then READY=1
// (systemd.service(5)). A reload that somebody else caused before counts as
// little here as it does for systemd.
func reloaded(t testing.TB, m *harness.Manager, requested int64) {
	t.Helper()
	for at := int64(0); at < requested; {
		_, err := fmt.Sscanf(m.Next(t), "RELOADING=1\nMONOTONIC_USEC=%d", &at)
		require.NoError(t, err)
		require.LessOrEqual(t, at, monotonic(t))
		require.Equal(t, "READY=1", m.Next(t))
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
	m := harness.NewManager(t)
	config := writeYAML(t, "log.level", "info")
	socket := filepath.Join(t.TempDir(), "vm.sock")
	g := begin(t, m.Env("BUS_VM_LOG_LEVEL="), "--config", config, "--addr", "unix:"+socket)
	require.Equal(t, "READY=1", m.Next(t))
	require.Equal(t, okReady, ask(t, socket, request("GET /readyz", "")), "READY=1 was sent before requests are answered")
	require.NotContains(t, g.stderr.String(), "level=DEBUG")

	harness.Replace(t, config, "log:\n  level: debug\n")
	before := monotonic(t)
	g.signal(t, syscall.SIGHUP)
	reloaded(t, m, before)
	_ = ask(t, socket, request("GET "+statusPath, "not.a.token"))
	harness.Eventually(t, "the new settings were in force when READY=1 was sent", func() bool { // the log comes by another pipe
		return strings.Contains(g.stderr.String(), "level=DEBUG")
	})

	harness.Replace(t, config, "log:\n  level: loud\n")
	before = monotonic(t)
	g.signal(t, syscall.SIGHUP)
	reloaded(t, m, before)
	require.Equal(t, okReady, ask(t, socket, request("GET /readyz", "")))

	g.signal(t, syscall.SIGTERM)
	require.Equal(t, "STOPPING=1", m.Next(t))
	require.Equal(t, 0, g.wait(t))
}

// The watchdog is fed within its time, also while the service drains.
func TestWatchdogIsFed(t *testing.T) {
	t.Parallel()
	const limit, times = 5 * time.Second, 2
	m := harness.NewManager(t)
	g := serve(t, m.Env("WATCHDOG_USEC="+strconv.FormatInt(limit.Microseconds(), 10)), "--shutdown-delay", "1h")
	for _, also := range []string{"READY=1", "STOPPING=1"} {
		began, heard := time.Now(), map[string]int{}
		for heard["WATCHDOG=1"] < times {
			heard[m.Next(t)]++
		}
		require.Equal(t, map[string]int{"WATCHDOG=1": times, also: 1}, heard)
		require.Less(t, time.Since(began), times*limit)
		g.signal(t, syscall.SIGTERM) // the second one ends it
	}
	g.wait(t)
}

// heldSocket is a socket that outlives the services that use it, as one of a
// systemd socket unit does.
type heldSocket struct {
	name, addr string
	file       *os.File
}

// hold opens a socket at host:port or at the path of a unix socket.
func hold(t testing.TB, name, addr string) heldSocket {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	file, err := l.(interface{ File() (*os.File, error) }).File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	held := heldSocket{name, l.Addr().String(), file}
	require.NoError(t, l.Close()) // from now on only the file holds it
	return held
}

// execAsListener gives a process its own id, which it needs before it runs, as
// sd_listen_fds(3) asks for.
const execAsListener = `LISTEN_PID=$$ exec "$0" "$@"`

// activate starts a gateway with sockets, without waiting for it.
func activate(t testing.TB, sockets []heldSocket, env ...string) *gateway {
	t.Helper()
	var names []string
	var files []*os.File
	for _, s := range sockets {
		names, files = append(names, s.name), append(files, s.file)
	}
	env = append([]string{
		"BUS_VM_JWT_SECRET=" + jwtSecret,
		"BUS_VM_LOG_LEVEL=info",
		"LISTEN_FDS=" + strconv.Itoa(len(files)),
		"LISTEN_FDNAMES=" + strings.Join(names, ":"),
	}, env...)
	g := &gateway{process: launch(t, files, env, "sh", "-c", execAsListener, harness.Gateway(t)), addr: sockets[0].addr}
	t.Cleanup(func() { g.stop(t) })
	return g
}

// What systemd passes is served, whatever its name, and the address of the settings is
// not opened: it could not be. Several sockets, or one for datagrams, are a mistake in
// the unit, and said to be one.
func TestSocketFromSystemdIsServed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	refused := func(want string, sockets ...heldSocket) {
		g := activate(t, sockets)
		require.Equal(t, 1, g.wait(t))
		require.Contains(t, g.stderr.String(), want+"; use one ListenStream=, for the API")
	}
	for _, addr := range []string{"127.0.0.1:0", t.TempDir() + "/api.sock"} {
		api := hold(t, "api", addr)
		for _, name := range []string{"api", ""} {
			g := activate(t, []heldSocket{{name, api.addr, api.file}}, "BUS_VM_ADDR="+taken.Addr().String())
			require.Equal(t, okStatus, ask(t, api.addr, request("GET "+statusPath, mint("vm:read"))))
			g.stop(t)
		}
		refused("systemd passed several sockets", api, heldSocket{"another", api.addr, api.file})
	}
	datagrams, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer datagrams.Close()
	file, err := datagrams.File()
	require.NoError(t, err)
	defer file.Close()
	refused("systemd passed a socket that takes no connections", heldSocket{"api", "127.0.0.1:0", file})
}

// Under load the service restarts repeatedly on one socket: connections made
// meanwhile wait in it, and no request fails. Through nginx, with connections
// that are kept, and without it, with a connection for each request.
func TestRestartsOnOneSocketFailNothing(t *testing.T) {
	for name, addr := range map[string]string{"TCP": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "api.sock")} {
		t.Run(name, func(t *testing.T) {
			const rounds, perRound = 5, 100
			m := harness.NewManager(t)
			held := hold(t, "api", addr)
			begin := func() *gateway {
				g := activate(t, []heldSocket{held}, m.Env()...)
				require.Equal(t, "READY=1", m.Next(t))
				return g
			}
			g := begin()
			through, stopKept := startLoad(startNginx(t, held.addr), kept, calls()...)
			past, stopSingle := startLoad(held.addr, 1, calls()...)
			for round := range int64(rounds) {
				harness.Eventually(t, "requests between two restarts", func() bool { return min(through(), past()) >= (round+1)*perRound })
				g.stop(t)
				require.Equal(t, "STOPPING=1", m.Next(t))
				g = begin()
			}
			require.NoError(t, stopKept())
			require.NoError(t, stopSingle())
			t.Logf("%d requests through nginx, %d past it", through(), past())
		})
	}
}
