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

func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	path := func(name string) string { return filepath.Join(dir, name) }
	stale, err := net.Listen("unix", path("stale"))
	require.NoError(t, err)
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	alive(t, "unix", path("ours"), `{"ok":true}`)
	require.NoError(t, os.Chmod(path("ours"), 0o660))
	alive(t, "unix", path("theirs"), "hello")
	ours, theirs := alive(t, "tcp", "127.0.0.1:0", "{\"ok\":true}\n").String(), alive(t, "tcp", "127.0.0.1:0", "hello").String()
	own, unix := strconv.Itoa(os.Getegid()), address.UnixPrefix+dir+"/"
	free, live := found{OK, ".* is free", ""}, found{OK, ".* is in use by a service that is alive, probably this one", ""}

	for _, c := range []struct {
		about, addr string
		mode        os.FileMode
		group       string
		want        found
	}{
		{"free", "127.0.0.1:0", 0, "", free},
		{"every interface", ":0", 0, "", free},
		{"this service", ours, 0, "", live},
		{"another", theirs, 0, "", found{Failed, "listen on .*: address already in use", "end what uses it, or choose another address"}},
		{"not of this machine", "192.0.2.1:80", 0, "", found{Failed, "listen on 192.0.2.1:80: .*", "choose an address of this machine.*"}},
		{"new", unix + "new", 0o660, own, free},
		{"left behind", unix + "stale", 0o660, own, free},
		{"no group", unix + "new", 0o660, "", free},
		{"this service on a socket", unix + "ours", 0o660, own, live},
		{"another on a socket", unix + "theirs", 0o660, own, found{Failed, "another process listens on unix socket .*", "end it, .*"}},
		{"no such group", unix + "new", 0o660, "no-such-group", found{Failed, "group of unix socket .*: group: unknown group no-such-group", "set --socket-group.*"}},
		{"open to all", unix + "new", 0o666, own, found{Warning, "mode 0666 lets every user.*", "use --socket-mode 0660.*"}},
		{"closed to the group", unix + "new", 0o600, own, found{Warning, "mode 0600 keeps the group.* from connecting", "use --socket-mode 0660"}},
	} {
		s := service()
		s.Addr, s.Admin.Addr, s.Socket.Mode, s.Socket.Group = c.addr, c.addr, c.mode, c.group
		got := examine(s.addresses)
		requireChecks(t, c.about, "address", got, c.want)
		switch want := c.want; { // operators' socket has neither mode nor group of the settings
		case c.addr == unix+"new":
			requireChecks(t, c.about, "admin address", got, free)
		case c.addr == unix+"ours":
			requireChecks(t, c.about, "admin address", got, found{Warning, "mode 0660 lets others .* connect, .*", "restart the service"})
		default:
			requireChecks(t, c.about, "admin address", got, want)
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3, "ours, theirs and the stale one: nothing comes, and nothing goes")
	s := service()
	s.Addr = ":0"
	requireChecks(t, "off", "admin address", examine(s.addresses), found{OK, "off: .*", ""})
}

// A socket that nginx may connect to is of no use below a directory that it may
// not enter.
func TestUnixSocketOutOfReach(t *testing.T) {
	const foreign = 54321 // a group that owns nothing here
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	socket := writeFile(t, filepath.Join(dir, "socket"), "", 0o660)
	closed := []found{{Warning, `group \d+ cannot reach the socket: it may not enter ` + dir, "chmod o\\+x " + dir + ".*"}}
	for mode, want := range map[os.FileMode]map[int][]found{
		0o700: {os.Getegid(): closed, foreign: closed},
		0o750: {os.Getegid(): nil, foreign: closed},
		0o710: {os.Getegid(): nil, foreign: closed},
		0o711: {os.Getegid(): nil, foreign: nil},
	} {
		require.NoError(t, os.Chmod(dir, mode))
		for group, want := range want {
			if err := os.Chown(socket, -1, group); err != nil {
				continue // only root may give it to a foreign group
			}
			var r Report
			socketAccess(&r, "address", socket)
			requireChecks(t, mode.String(), "address", r.Checks, want...)
		}
	}
}
