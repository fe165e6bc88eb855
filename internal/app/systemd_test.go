package app

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/stretchr/testify/require"
)

// manager listens where systemd would.
func manager(t *testing.T) func() string {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(5*time.Second)))
		buffer := make([]byte, 256)
		n, err := socket.Read(buffer)
		require.NoError(t, err)
		return string(buffer[:n])
	}
}

func TestWatchdogIsFedOnlyWhileAlive(t *testing.T) {
	next := manager(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	var asked atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	s := dialSystemd()
	require.NotNil(t, s.conn)
	defer s.conn.Close()
	done := make(chan error)
	revive := make(chan struct{})
	go func() {
		done <- s.run(ctx, func() bool {
			count := asked.Add(1)
			if count == 2 {
				close(revive)
			}
			return count != 2
		})
	}()
	require.Equal(t, "WATCHDOG=1", next())
	<-revive
	s.notify(daemon.SdNotifyStopping) // stands for the message that was not sent
	require.Equal(t, "STOPPING=1", next())
	require.Equal(t, "WATCHDOG=1", next())
	cancel()
	require.NoError(t, <-done)
}
