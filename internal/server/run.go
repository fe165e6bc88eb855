package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/fastconn"
)

// errDraining is why an instance that is about to end is not ready.
var errDraining = errors.New("shutting down")

// leftoverPoll is how often the last open connections are counted.
const leftoverPoll = 5 * time.Millisecond

// Ready is nil until the end was asked for.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errDraining
	}
	return nil
}

// Run serves on l until ctx ends, then drains in this order:
//
//  1. /readyz says 503 and every reply closes its connection;
//  2. the shutdown delay passes, so that a balancer notices;
//  3. the listener closes, with its backlog still served;
//  4. requests in flight finish, for at most the shutdown timeout.
//
// It returns nil when all of them did.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	fast := fastconn.NewListener(l, fastconn.Config{
		ReadTimeout: s.config.ReadTimeout, WriteTimeout: s.writeTimeout, IdleTimeout: s.config.IdleTimeout,
		Silent: s.refuseSilence,
	})
	go func() { served <- s.app.Listener(fast) }()

	select {
	case err := <-served:
		return stoppedServing(l, err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.config.Logger.Info("draining", "delay", s.config.Shutdown.Delay, "timeout", s.config.Shutdown.Timeout)
	select {
	case err := <-served:
		return stoppedServing(l, err)
	case <-time.After(s.config.Shutdown.Delay):
	}

	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Shutdown.Timeout)
	defer cancel()
	err := s.app.ShutdownWithContext(limit)
	_ = l.Close() // a shutdown that came before Serve knew its listener has not
	stopped := <-served
	if err = cmp.Or(err, stopped); err == nil {
		err = s.leftovers(limit)
	}
	if err != nil {
		return fmt.Errorf("requests in flight did not finish within %s (connections left: %d): %w",
			s.config.Shutdown.Timeout, s.connections(), err)
	}
	s.config.Logger.Info("drained")
	return nil
}

// lastAnswers bounds how long requests may take to be answered once nothing
// that they wait for is there any more.
const lastAnswers = time.Second

// AwaitLast gives the requests that outlasted Run a moment to be answered. Call
// it when what they wait for has ended, so that they say so instead of losing
// their connection.
func (s *Server) AwaitLast() {
	limit, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	_ = s.leftovers(limit) // Run has told of them
}

// leftovers waits for connections that the closing listener still handed over
// while the shutdown was already counting.
func (s *Server) leftovers(limit context.Context) error {
	tick := time.NewTicker(leftoverPoll)
	defer tick.Stop()
	for s.connections() > 0 {
		select {
		case <-limit.Done():
			return limit.Err()
		case <-tick.C:
		}
	}
	return nil
}

// connections counts those still served, once Serve has returned: fasthttp
// leaves one out for the listener, which is gone by then.
func (s *Server) connections() int32 { return s.app.Server().GetOpenConnectionsCount() + 1 }

// stoppedServing closes a listener that failed, or that was closed: then
// fasthttp gives no reason.
func stoppedServing(l net.Listener, err error) error {
	_ = l.Close()
	return fmt.Errorf("serve on %s: %w", l.Addr(), cmp.Or(err, net.ErrClosed))
}
