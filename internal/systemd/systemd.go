// Package systemd speaks the protocols of a service manager: it takes over
// sockets that systemd opened, and tells it when the service is ready, reloads
// and stops, and that it is alive (sd_notify(3), sd_listen_fds(3)). Without
// systemd all of it does nothing.
package systemd

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// adminSocket is the FileDescriptorName= of the operators' socket; every other
// name is that of the API.
const adminSocket = "admin"

// Sockets are the listeners that systemd opened; nil where it opened none.
type Sockets struct{ API, Admin net.Listener }

// Inherit takes the sockets over. It may be called once: they are forgotten by
// the environment, so that no child mistakes them for its own.
func Inherit() (Sockets, error) {
	byName, err := activation.ListenersWithNames()
	if err != nil {
		return Sockets{}, fmt.Errorf("sockets from systemd: %w", err)
	}
	var s Sockets
	for name, listeners := range byName {
		slot := &s.API
		if name == adminSocket {
			slot = &s.Admin
		}
		if *slot != nil || len(listeners) > 1 {
			return Sockets{}, fmt.Errorf("systemd passed several sockets for one listener (%q); "+
				"use one ListenStream= for the API and one with FileDescriptorName=%s", name, adminSocket)
		}
		*slot = listeners[0]
	}
	return s, nil
}

// Ready says that requests are answered from now on, also after a reload.
func Ready() { notify(daemon.SdNotifyReady) }

// Reloading says that the settings are being read again; Ready ends it.
func Reloading() { notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec()) }

// Stopping says that the service drains.
func Stopping() { notify(daemon.SdNotifyStopping) }

// Watch tells systemd that the service is alive, twice as often as WatchdogSec=
// asks for, until ctx ends. It stops telling while alive says no, so that
// systemd restarts a service that hangs.
func Watch(ctx context.Context, alive func() bool) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if alive() {
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// notify could tell about a failure only systemd itself, which then
// acts on the missing message.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }
