package harness

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Manager stands where systemd would: it hears what a service tells (sd_notify(3)).
type Manager struct {
	Path   string
	socket *net.UnixConn
}

func NewManager(t testing.TB) *Manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	return &Manager{path, socket}
}

// Env makes a service talk to the manager.
func (m *Manager) Env(more ...string) []string {
	return append([]string{"NOTIFY_SOCKET=" + m.Path}, more...)
}

// Next is what the service tells next.
func (m *Manager) Next(t testing.TB) string {
	t.Helper()
	require.NoError(t, m.socket.SetReadDeadline(time.Now().Add(WaitLimit)))
	buffer := make([]byte, 4096)
	n, err := m.socket.Read(buffer)
	require.NoError(t, err)
	return strings.TrimSpace(string(buffer[:n]))
}
