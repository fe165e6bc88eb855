package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

// stream keeps one reply stream open and hands out what comes on it.
type stream struct {
	client  *Client
	reply   string
	seed    uint64
	pending *pending
	ready   *ready
	counts  streamCounts

	observers []func(Envelope)
	delivery  sync.Mutex    // held while one envelope is delivered
	received  atomic.Uint64 // reads of the followed stream that brought something
	stalls    stalls
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
		if errors.Is(err, errSilent) || errors.Is(err, errSuspected) || errors.Is(err, errMoved) {
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
	conn, err := s.listen(ctx, url.Values{}, s.client.config.IdleWatchdog, func() { s.received.Add(1) })
	if err != nil {
		return 0, err
	}
	opened := time.Now()
	// Who asked before this point may have been answered in the gap; who asks
	// from now on is answered on conn.
	mark := s.pending.mark()
	s.client.tell(s.reply, true)
	s.stalls.begin(opened, conn.remote, conn.cancel)
	s.ready.set()
	s.counts.opened()
	down.end(s.client.config.Logger, s.reply)

	var replay sync.WaitGroup
	replay.Go(func() { s.catchUp(conn.ctx, mark) })
	err = s.deliverLines(conn, func(e Envelope) error { s.deliver(e, false); return nil })

	s.client.tell(s.reply, false)
	s.ready.clear()
	s.stalls.end()
	conn.Close()
	replay.Wait()
	return time.Since(opened), err
}

// listen opens the stream, in the way that query asks for.
func (s *stream) listen(ctx context.Context, query url.Values, silence time.Duration, received func()) (*connection, error) {
	token, err := s.client.config.Token.Token()
	if err != nil {
		return nil, err
	}
	query.Set("name", s.reply)
	query.Set("delivery", "broadcast")
	conn, err := listen(ctx, subscription{s.client.transport, s.client.collection, query, token, silence, received})
	return conn, withToken(err, token, "listening to")
}

// deliverLines reads lines of in and hands their envelopes to deliver until
// one of them fails. Lines that are no envelope of this stream are counted and
// skipped.
func (s *stream) deliverLines(in io.Reader, deliver func(Envelope) error) error {
	lines := newLineReader(in, s.client.config.MaxLine)
	for {
		line, err := lines.next()
		if errors.Is(err, errLineTooLong) {
			s.counts.tooLong.Inc()
			continue
		}
		if len(line) > 0 {
			switch e, ok := decode(line); {
			case !ok:
				s.counts.malformed.Inc()
			case e.Name != "" && e.Name != s.reply:
				s.counts.foreign.Inc()
			default:
				e.Name = s.reply
				if err := deliver(e); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// deliver gives e to the request that it answers, which decodes it, or to the
// observers if it answers none of this process, or one that was refused before.
// Of a replay, only the answers to
// this process's requests count: all others are history of an unknown age. It
// reports whether e answered a request.
func (s *stream) deliver(e Envelope, replayed bool) bool {
	s.delivery.Lock()
	defer s.delivery.Unlock()
	kind, request, settled := s.pending.find(e.CorrelationID)
	if replayed && request == nil {
		s.counts.history.Inc()
		return false
	}
	tell := false
	var r result
	switch {
	case request != nil:
		r = request.decode(e)
		now := time.Now()
		kind, tell = s.pending.settle(request, r, now, now.Add(s.client.config.LateReply))
	case !settled:
		for _, observe := range s.observers {
			observe(e)
		}
	}
	s.counts.replies[kind].Inc()
	if tell {
		// It may have to write to a slow disk: the stream does not wait for it.
		// There are at most as many at a time as requests were given up.
		s.client.background(func() { request.late(r) })
	}
	return true
}

// errCaughtUp ends a replay early: no reply is missing any more.
var errCaughtUp = errors.New("caught up")

// catchUp looks in the history of the stream for replies to the requests from
// before mark, beside the stream that is followed meanwhile. It tries until it
// has read all of the history, or nothing is missing any more, or ctx ends.
func (s *stream) catchUp(ctx context.Context, mark uint64) {
	config := &s.client.config
	for attempt := 0; s.pending.missing(mark, time.Now()); attempt++ {
		err := s.replay(ctx, mark)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.pending.tellMissed(mark)
			return
		}
		if _, final := s.client.tokenRefused(err); final != nil {
			s.client.fail(final)
			return
		}
		wait := s.delay(attempt, config.RetryMin, config.RetryMax)
		level := slog.LevelWarn
		if attempt > 0 {
			level = slog.LevelDebug
		}
		config.Logger.Log(ctx, level, "events replay failed, and is tried again; requests from before the stream came back may find no reply until it succeeds",
			"event", s.reply, "cause", clean(err.Error(), maxMessage), "wait", wait)
		if !pause(ctx, wait) {
			return
		}
	}
}

// replay reads the history once. It is finite (`follow=false`), so the
// followed stream itself carries nothing old.
func (s *stream) replay(ctx context.Context, mark uint64) error {
	s.counts.replays.Inc()
	query := url.Values{"replay": {"true"}, "follow": {"false"}}
	conn, err := s.listen(ctx, query, headerTimeout, func() {})
	if err != nil {
		return err
	}
	defer conn.Close()
	err = s.deliverLines(conn, func(e Envelope) error {
		if s.deliver(e, true) && !s.pending.missing(mark, time.Now()) {
			return errCaughtUp
		}
		return nil
	})
	if errors.Is(err, io.EOF) || errors.Is(err, errCaughtUp) {
		return nil
	}
	return err
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

// outage logs the loss of a stream once, however many attempts it takes to
// open it again. Its zero value is the time before the first attempt.
type outage struct{ since time.Time }

func (o *outage) log(logger *slog.Logger, event string, cause error, wait time.Duration) {
	why := clean(cause.Error(), maxMessage) // a broken server's bytes may be in it
	if !o.since.IsZero() {
		logger.Debug("events stream is still down", "event", event, "cause", why, "wait", wait)
		return
	}
	o.since = time.Now()
	logger.Warn("events stream is down, requests that need it are refused until it is back; check the Events API, its URL and the token",
		"event", event, "cause", why, "wait", wait)
}

func (o *outage) end(logger *slog.Logger, event string) {
	if o.since.IsZero() {
		logger.Debug("events stream is up", "event", event)
		return
	}
	logger.Info("events stream is up again", "event", event, "outage", time.Since(o.since).Round(time.Millisecond))
	o.since = time.Time{}
}
