package events

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

// stream keeps one reply stream open and hands out what comes on it.
type stream struct {
	client *Client
	reply  string
	seed   uint64
	book   *book
	gate   *gate
	counts streamCounts

	observers []func(Envelope)
	delivery  sync.Mutex    // held while one envelope is delivered
	heard     atomic.Uint64 // reads of the followed stream that brought something
	doubts    doubts
}

// run opens the stream again whenever it ends. It returns nil when ctx ends,
// and an error when the stream cannot or must not be opened again.
func (s *stream) run(ctx context.Context) error {
	config := &s.client.config
	var down outage
	refreshed := false // the last attempt followed a change of token
	for attempt := 0; ; attempt++ {
		lived, err := s.follow(ctx, &down)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errSilent) || errors.Is(err, errSuspected) {
			// Our own choice, and the server may be well: no pause, no alarm.
			config.Logger.Debug("events stream is opened again", "event", s.reply, "cause", err)
			attempt = -1
			continue
		}
		changed, final := s.client.tokenRefused(err)
		switch {
		case final != nil:
			return final
		case changed && !refreshed:
			refreshed = true
			continue
		case !config.Retry:
			return fmt.Errorf("the stream %s is lost, and BUS_EVENTS_LISTENER_RETRY is off: %w", s.reply, err)
		}
		refreshed = false
		if lived >= config.HealthyAfter {
			attempt = 0
		}
		wait := s.delay(attempt, config.RetryMin, config.RetryMax)
		down.log(config.Logger, s.reply, err, wait)
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// follow opens the stream and delivers what comes until it ends, which is
// always an error. It returns how long the stream was open.
func (s *stream) follow(ctx context.Context, down *outage) (lived time.Duration, _ error) {
	conn, err := s.listen(ctx, url.Values{}, s.client.config.IdleWatchdog, func() { s.heard.Add(1) })
	if err != nil {
		return 0, err
	}
	opened := time.Now()
	// Whoever asked before this point may have been answered in the gap;
	// whoever asks from now on is answered on conn.
	mark := s.book.mark()
	for _, observe := range s.client.gapObservers {
		observe(s.reply)
	}
	s.doubts.begin(opened, conn.cancel)
	s.gate.open()
	s.counts.opened()
	down.end(s.client.config.Logger, s.reply)

	var replay sync.WaitGroup
	replay.Go(func() { s.catchUp(conn.ctx, mark) })
	err = s.deliverLines(conn, func(e Envelope) error { s.deliver(e); return nil })

	s.gate.shut()
	s.doubts.end()
	conn.Close()
	replay.Wait()
	return time.Since(opened), err
}

// listen opens the stream, in the way that extra asks for.
func (s *stream) listen(ctx context.Context, extra url.Values, patience time.Duration, heard func()) (*connection, error) {
	token, err := s.client.config.Token.Token()
	if err != nil {
		return nil, err
	}
	extra.Set("name", s.reply)
	extra.Set("delivery", "broadcast")
	conn, err := listen(ctx, s.client.transport, s.client.collection, extra, token, patience, heard)
	return conn, withToken(err, token, "listening to")
}

// delay is a backoff whose chance is the stream's own.
func (s *stream) delay(attempt int, lowest, highest time.Duration) time.Duration {
	return backoff.Delay(attempt, lowest, highest, backoff.Chance(s.seed, attempt))
}

// pause waits; false means that ctx ended first.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
