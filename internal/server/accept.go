package server

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

const (
	// The bounds of the pause after an accept that failed. What it failed for
	// is over when a connection ends, so the pause stays short.
	shortestPause, longestPause = 5 * time.Millisecond, 250 * time.Millisecond
	calm                        = time.Minute // without a failure before one is logged again
)

// KeepAccepting returns l with an Accept that fails only once it is closed.
// Every other failure is of one connection, or of the machine, and no reason to
// end: it pauses, counts and, once for each spell, logs. The name tells
// listeners apart.
func KeepAccepting(l net.Listener, name string, logger *slog.Logger, set *metrics.Set) net.Listener {
	failures := set.NewCounter(fmt.Sprintf("bus_vm_accept_failures_total{listener=%q}", name))
	return &accepting{Listener: l, logger: logger.With("listener", name, "addr", l.Addr().String()), failures: failures}
}

type accepting struct {
	net.Listener
	logger   *slog.Logger
	failures *metrics.Counter
	failed   time.Time // the last time; used by Accept alone
}

func (l *accepting) Accept() (net.Conn, error) {
	for attempt := 0; ; attempt++ {
		c, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return c, err
		}
		l.failures.Inc()
		if time.Since(l.failed) > calm {
			l.logger.Error("cannot accept connections", "cause", err, "do", remedyFor(err))
		}
		l.failed = time.Now()
		time.Sleep(backoff.Delay(attempt, shortestPause, longestPause, rand.Float64()))
	}
}

// remedyFor says what an operator does about an accept that failed.
func remedyFor(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "raise the limit of open files (LimitNOFILE=, ulimit -n) or lower server.max_connections"
	case errors.Is(err, syscall.ENFILE):
		return "raise fs.file-max, or find the process that opens so many files"
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return "look at the memory of this machine, of its sockets too"
	}
	return "look at the network and the firewall of this machine; restart the service if this goes on"
}
