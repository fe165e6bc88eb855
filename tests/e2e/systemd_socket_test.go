package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

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
	held := heldSocket{name, l.Addr().String(), file}
	require.NoError(t, l.Close()) // from now on only the file holds it
	t.Cleanup(func() { _ = file.Close() })
	return held
}

// exec gives a process its own id, which it needs before it runs, as
// sd_listen_fds(3) asks for.
const execAsListener = `LISTEN_PID=$$ exec "$0" "$@"`

// activate starts a gateway with sockets, without waiting for it.
func activate(t testing.TB, sockets []heldSocket, env []string, args ...string) *gateway {
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
	args = append([]string{"-c", execAsListener, program(t)}, args...)
	g := &gateway{process: launchWith(t, files, env, "sh", args...), addr: sockets[0].addr}
	t.Cleanup(func() { g.stop(t) })
	return g
}

// What systemd passes is served, by its name, and the settings' own addresses
// are not opened: they could not be.
func TestSocketsFromSystemdAreServed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, dir := range map[string]string{"TCP": "", "unix": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where := func(file string) string {
				if dir == "" {
					return "127.0.0.1:0"
				}
				return filepath.Join(dir, file)
			}
			api, admin := hold(t, "api", where("api.sock")), hold(t, "admin", where("admin.sock"))
			for _, sockets := range [][]heldSocket{{api}, {api, admin}, {admin, api}, {{"", api.addr, api.file}}} {
				g := activate(t, sockets, []string{"BUS_VM_ADDR=" + taken.Addr().String()})
				require.Equal(t, okStatus, ask(t, api.addr, request("GET "+statusPath, mint("vm:read"))))
				if len(sockets) > 1 {
					status, text := harness.Get(t, admin.addr, "/metrics", "")
					require.Equal(t, 200, status)
					require.Contains(t, text, "\nbus_vm_build_info{")
					require.Equal(t, notFound, ask(t, api.addr, request("GET /metrics", "")))
				}
				g.stop(t)
			}
		})
	}
}

// Two sockets for one listener are a mistake in the unit, and said to be one.
func TestTooManySocketsFromSystemd(t *testing.T) {
	t.Parallel()
	g := activate(t, []heldSocket{hold(t, "api", "127.0.0.1:0"), hold(t, "another", "127.0.0.1:0")}, nil)
	require.Equal(t, 1, g.wait(t))
	require.Contains(t, g.stderr.String(), "systemd passed several sockets for one listener")
}

// Sockets that were meant for another process are left alone (sd_listen_fds(3)).
func TestSocketsOfAnotherProcessAreLeftAlone(t *testing.T) {
	t.Parallel()
	held := hold(t, "api", "127.0.0.1:0")
	g := &gateway{process: launchWith(t, []*os.File{held.file}, []string{
		"BUS_VM_JWT_SECRET=" + jwtSecret, "BUS_VM_ADDR=127.0.0.1:0", "LISTEN_FDS=1", "LISTEN_PID=1",
	}, program(t))}
	t.Cleanup(func() { g.stop(t) })
	harness.Eventually(t, "serving", func() bool { return servingLine.MatchString(g.stderr.String()) })
	require.NotContains(t, g.stderr.String(), held.addr)
}

// Under load the service restarts repeatedly on one socket: connections made
// meanwhile wait in it, and no request fails. Through nginx, with connections
// that are kept, and without it, with a connection for each request.
func TestRestartsOnOneSocketFailNothing(t *testing.T) {
	for name, addr := range map[string]string{"TCP": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "api.sock")} {
		t.Run(name, func(t *testing.T) {
			const rounds, perRound = 5, 100
			m := newManager(t)
			held := hold(t, "api", addr)
			restart := func(old *gateway) *gateway {
				if old != nil {
					old.signal(t, syscall.SIGTERM)
					require.Equal(t, []string{"STOPPING=1"}, m.next(t))
					require.Equal(t, 0, old.wait(t), old.stderr)
				}
				g := activate(t, []heldSocket{held}, m.env())
				require.Equal(t, []string{"READY=1"}, m.next(t))
				return g
			}
			g := restart(nil)
			through, stopKept := startLoad(startNginx(t, held.addr), kept)
			past, stopSingle := startLoad(held.addr, 1)
			for round := range int64(rounds) {
				harness.Eventually(t, "requests between two restarts", func() bool { return min(through(), past()) >= (round+1)*perRound })
				g = restart(g)
			}
			_, failures := stopKept()
			require.Empty(t, failures)
			_, failures = stopSingle()
			require.Empty(t, failures)
			t.Logf("%d requests through nginx, %d past it", through(), past())
		})
	}
}
