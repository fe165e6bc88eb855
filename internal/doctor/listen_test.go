package doctor

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// alive listens at network and address, and answers /livez with body.
func alive(t *testing.T, network, address, body string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, body) }))
	require.NoError(t, s.Listener.Close())
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr()
}

func TestAddress(t *testing.T) {
	look := func(addr string) []Check { return Config{Addr: addr}.address(background()) }
	requireChecks(t, "free", "address", look("127.0.0.1:0"), found{OK, "127.0.0.1:0 is free", ""})
	requireChecks(t, "this service", "address", look(alive(t, "tcp", "127.0.0.1:0", "{\"ok\":true}\n").String()), found{OK, ".* is in use by a service that is alive, probably this one", ""})
	requireChecks(t, "another", "address", look(alive(t, "tcp", "127.0.0.1:0", "hello").String()), found{Failed, ".* is in use by something that is not this service", "end what uses it, or choose another --addr"})
	requireChecks(t, "not of this machine", "address", look("192.0.2.1:80"), found{Failed, "192.0.2.1:80: .*", "choose an address of this machine as --addr.*"})
}

func TestAdminAddress(t *testing.T) {
	look := func(addr string) []Check { return Config{Admin: addr}.adminAddress(background()) }
	requireChecks(t, "off", "admin address", look(""), found{OK, "off: .*", ""})
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", ":0"} {
		requireChecks(t, addr, "admin address", look(addr), found{OK, addr + " is free", ""})
	}
	requireChecks(t, "taken", "admin address", look(alive(t, "tcp", "127.0.0.1:0", "x").String()), found{Failed, ".*", ".*--admin-addr"})
}

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("file"), nil, 0o600))
	stale, err := net.Listen("unix", path("stale"))
	require.NoError(t, err)
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	alive(t, "unix", path("ours"), `{"ok":true}`)
	alive(t, "unix", path("theirs"), "hello")
	own := strconv.Itoa(os.Getegid())
	number := func(text string) (int, error) { return strconv.Atoi(text) }
	fine := Socket{Mode: 0o660, Group: own, GroupID: number}

	for _, c := range []struct {
		about, path string
		socket      Socket
		want        []found
	}{
		{"new", path("new"), fine, []found{{OK, ".*/new, mode 0660", ""}}},
		{"left behind", path("stale"), fine, []found{{OK, ".*/stale, mode 0660", ""}}},
		{"this service", path("ours"), fine, []found{{OK, ".*/ours, mode 0660", ""}}},
		{"no group", path("new"), Socket{Mode: 0o660}, []found{{OK, ".*", ""}}},
		{"another service", path("theirs"), fine, []found{{Failed, ".* is in use by something that is not this service", "end what uses it, .*"}}},
		{"no socket", path("file"), fine, []found{{Failed, ".* exists and is no socket", "remove it, .*"}}},
		{"no directory", path("absent/x"), fine, []found{{Failed, "no socket can be made in .*/absent: no such file or directory", "make the directory.*"}}},
		{"no such group", path("new"), Socket{Mode: 0o660, Group: "no-such-group", GroupID: noGroup}, []found{{Failed, errNoGroup.Error(), "correct --socket-group.*"}}},
		{"open to all", path("new"), Socket{Mode: 0o666, Group: own, GroupID: number}, []found{{Warning, "mode 0666 lets every user.*", "use --socket-mode 0660.*"}}},
		{"closed to the group", path("new"), Socket{Mode: 0o600, Group: own, GroupID: number}, []found{{Warning, "mode 0600 keeps group .* from connecting", "use --socket-mode 0660"}}},
	} {
		requireChecks(t, c.about, "address", Config{Addr: address.UnixPrefix + c.path, Socket: c.socket}.address(background()), c.want...)
	}
}

// A socket that nginx may connect to is of no use below a directory that it may
// not enter.
func TestUnixSocketOutOfReach(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	const foreign = 54321 // a group that owns nothing here
	socket := Socket{Mode: 0o660, Group: "x", GroupID: func(string) (int, error) { return foreign, nil }}
	for mode, closed := range map[os.FileMode]bool{0o700: true, 0o750: true, 0o710: true, 0o711: false, 0o755: false} {
		require.NoError(t, os.Chmod(dir, mode))
		got := problems(socketOf(dir, socket))
		if os.Geteuid() != 0 { // who may not give a socket to another group either
			got = got[1:]
		}
		if !closed {
			require.Empty(t, got, "%o", mode)
			continue
		}
		requireChecks(t, mode.String(), "address", got, found{Warning, "group x cannot reach the socket: it may not enter " + dir, "chmod o\\+x " + dir + ".*"})
	}
	require.NoError(t, os.Chmod(dir, 0o710))
	require.Empty(t, problems(socketOf(dir, Socket{Mode: 0o660})), "its own group may enter")
}

func socketOf(dir string, socket Socket) []Check {
	return Config{Addr: address.UnixPrefix + filepath.Join(dir, "x.sock"), Socket: socket}.address(background())
}
