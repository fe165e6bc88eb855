package app

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestWatchdogIsFedOnlyWhileAlive(t *testing.T) {
	manager := harness.NewManager(t)
	t.Setenv("NOTIFY_SOCKET", manager.Path)
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
	require.Equal(t, "WATCHDOG=1", manager.Next(t))
	<-revive
	s.notify(daemon.SdNotifyStopping) // stands for the message that was not sent
	require.Equal(t, "STOPPING=1", manager.Next(t))
	require.Equal(t, "WATCHDOG=1", manager.Next(t))
	cancel()
	require.NoError(t, <-done)
}
