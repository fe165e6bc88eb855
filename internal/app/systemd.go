package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/server"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// Towards systemd (sd_notify(3), sd_listen_fds(3)): without it all of this does
// nothing.

// inheritSocket takes over the API's listener that systemd opened, nil where it opened
// none, once: the environment forgets it.
func inheritSocket() (net.Listener, error) {
	sockets, err := activation.Listeners()
	switch {
	case err != nil || len(sockets) == 0:
		return nil, err
	case len(sockets) > 1:
		return nil, errors.New("systemd passed several sockets; use one ListenStream=, for the API")
	case sockets[0] == nil:
		return nil, errors.New("systemd passed a socket that takes no connections; use one ListenStream=, for the API")
	}
	return sockets[0], nil
}

// listen returns the inherited socket, else a listener on addr; nil for neither.
// The backlog of an inherited socket is left to the next process.
func (a *app) listen(name, flag string, l net.Listener, addr string, socket config.Socket) (_ net.Listener, err error) {
	if l == nil && addr == "" {
		return nil, nil
	}
	if l == nil {
		if l, err = server.Listen(addr, socket); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	return server.KeepAccepting(l, name, a.logger, a.metrics), nil
}

// systemd is told on one socket that stays open: callers may take all other files. It
// may be full, and systemd ends a service whose READY=1 it never learns of: states wait
// here, in order, and are told as often as it takes.
type systemd struct {
	conn   *net.UnixConn // nil where there is nothing to tell
	states chan string
}

func dialSystemd() systemd {
	s := systemd{states: make(chan string, 16)}
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		s.conn, _ = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	}
	return s
}

func (s systemd) notify(state string) {
	select {
	case s.states <- state:
	default: // systemd has taken nothing for many reloads
	}
}

// run passes states on until ctx ends, and what is left then, once each. Three times as often as
// WatchdogSec= asks for it says that the service is alive, if it is, so that systemd
// restarts one that hangs.
func (s systemd) run(ctx context.Context, alive func() bool) error {
	var watchdog <-chan time.Time
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil && interval > 0 {
		watchdog = time.Tick(interval / 3) // the first is late, and one may be lost
	}
	for {
		select {
		case state := <-s.states:
			for !s.tell(state) && ctx.Err() == nil {
			}
		case <-watchdog:
			if alive() {
				s.tell(daemon.SdNotifyWatchdog) // if it is lost, the next may not be
			}
		case <-ctx.Done():
			for len(s.states) > 0 {
				s.tell(<-s.states)
			}
			return nil
		}
	}
}

const tellTimeout = 100 * time.Millisecond // bounds handing one state to systemd

// tell is false if systemd did not take state in time. Where its socket is gone,
// or there is none, there is nothing to tell.
func (s systemd) tell(state string) bool {
	if s.conn == nil {
		return true
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(tellTimeout))
	_, err := s.conn.Write([]byte(state))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

const aliveTimeout = 5 * time.Second // bounds the check whether requests are still answered

// alive asks api for /livez. It asks in memory: callers may take all connections and
// files, which is no reason for a restart, as that would end the writes under way.
func (a *app) alive(api *server.Server) func() bool {
	client := &http.Client{Timeout: aliveTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return api.Dial(), nil },
	}}
	return func() bool {
		if api.Ready() != nil {
			return true // draining: the listener is closed on purpose
		}
		reply, err := client.Get("http://localhost" + routes.LivePath)
		if err == nil {
			_ = reply.Body.Close()
			if reply.StatusCode != http.StatusOK {
				err = errors.New(reply.Status)
			}
		}
		if err != nil {
			a.logger.Error("this service does not answer itself; systemd restarts it when that goes on", "cause", err,
				"do", "look at the load of this machine")
		}
		return err == nil
	}
}
