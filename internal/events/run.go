package events

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Observe calls see for every envelope that comes on the stream of reply,
// whoever asked, in the order of the stream and before the request it answers
// is told. Of a replay, see gets the answers to this process's requests only.
// see must return soon. Observe belongs before Run; reply must be one of
// Config.Replies.
func (c *Client) Observe(reply string, see func(Envelope)) {
	s := c.streams[reply]
	s.observers = append(s.observers, see)
}

// OnGap calls see whenever a stream has opened, the first time included, and
// before anything is delivered from it: events before that moment may have
// been missed. see must return soon, and is called for one stream while others
// deliver. OnGap belongs before Run.
func (c *Client) OnGap(see func(reply string)) { c.gapObservers = append(c.gapObservers, see) }

// Missing returns the reply streams that were never up, or have been down for
// grace, in the order of Config.Replies.
func (c *Client) Missing(grace time.Duration) []string {
	var missing []string
	for _, reply := range c.config.Replies {
		if c.streams[reply].gate.missing(grace) {
			missing = append(missing, reply)
		}
	}
	return missing
}

// Connected waits for the stream of reply as Request does, and returns an
// ErrNotConnected when it would not publish. It waits no longer than Run lasts.
func (c *Client) Connected(ctx context.Context, reply string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ended, cancel)()
	if c.streams[reply].gate.wait(ctx, c.config.ConnectWait) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotConnected, reply)
}

// Run keeps the streams open. It returns after all of its children: nil when
// ctx ended it, an error that wraps ErrTokenRefused when the Events API refused
// a token that will not change, and the loss of a stream when Config.Retry is
// off. Requests that still wait end with ErrNoReply then. Run is called once.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var streams sync.WaitGroup
	for _, s := range c.streams {
		streams.Go(func() {
			if err := s.run(ctx); err != nil {
				c.fail(err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-c.fatal:
	}
	cancel()
	streams.Wait()
	c.end()
	c.late.Wait()
	c.publisher.pool.close()
	return err
}

// fail makes Run end with err, unless it ends already.
func (c *Client) fail(err error) {
	select {
	case c.fatal <- err:
	default:
	}
}
