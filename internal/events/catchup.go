package events

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"time"
)

// errCaughtUp ends a replay early: no reply is missing any more.
var errCaughtUp = errors.New("caught up")

// catchUp looks in the history of the stream for replies to the requests from
// before mark, beside the stream that is followed meanwhile. It tries until it
// has read all of the history, or nothing is missing any more, or ctx ends.
func (s *stream) catchUp(ctx context.Context, mark uint64) {
	config := &s.client.config
	for attempt := 0; s.book.missing(mark, time.Now()); attempt++ {
		err := s.replay(ctx, mark)
		if err == nil || ctx.Err() != nil {
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
		if s.deliverReplayed(e) && !s.book.missing(mark, time.Now()) {
			return errCaughtUp
		}
		return nil
	})
	if errors.Is(err, io.EOF) || errors.Is(err, errCaughtUp) {
		return nil
	}
	return err
}
