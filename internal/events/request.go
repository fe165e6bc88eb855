package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Request is one event to publish, and the reply to wait for.
type Request struct {
	Name  string // the event to publish
	Reply string // one of Config.Replies
	// CorrelationID is unique among the requests that wait for Reply.
	CorrelationID string
	Payload       any // as encoding/json takes it
	// Late, when set, is called at most once with a reply that comes after
	// Request returned ErrNoReply, within Config.LateReply. It is called by
	// Run, several at a time, and may block for a while.
	Late func(Envelope)
	// Nonsense, when set, reports replies that settle nothing. Request returns
	// one like any other, but the next is late; late ones are skipped. It must
	// return soon.
	Nonsense func(Envelope) bool
}

// Request publishes r and returns the reply. It waits until the deadline of
// ctx, or Config.Timeout when it has none. A reply with an event error is
// returned beside that *RemoteError. Other errors wrap ErrNotConnected,
// ErrNotSent or ErrRefused (nothing was carried out), or ErrNoReply (unknown).
// Nothing is ever published twice, except after a refused token was replaced.
func (c *Client) Request(ctx context.Context, r Request) (Envelope, error) {
	s := c.streams[r.Reply]
	if s == nil || r.CorrelationID == "" {
		return Envelope{}, fmt.Errorf("BUG: a request needs a reply stream and a correlation id: %q, %q", r.Reply, r.CorrelationID)
	}
	body, err := json.Marshal(struct {
		Name          string `json:"name"`
		CorrelationID string `json:"correlationId"`
		Payload       any    `json:"payload"`
	}{r.Name, r.CorrelationID, r.Payload})
	if err != nil {
		return Envelope{}, fmt.Errorf("BUG: the payload of %s: %w", r.Name, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.config.Timeout)
		defer cancel()
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ended, cancel)()

	if err := c.Connected(ctx, r.Reply); err != nil {
		return Envelope{}, err
	}
	heard := s.heard.Load()
	w, ok := s.book.open(r, time.Now())
	if !ok {
		return Envelope{}, fmt.Errorf("BUG: a request with correlation id %q waits already", r.CorrelationID)
	}
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)

	if err := c.publish(ctx, r.Name, body); errors.Is(err, ErrNotSent) || errors.Is(err, ErrRefused) {
		if !s.book.close(w) {
			return answered(<-w.reply) // the reply proves the refusal wrong
		}
		return Envelope{}, err
	}
	select {
	case e := <-w.reply:
		return answered(e)
	case <-ctx.Done():
	}
	if !s.book.giveUp(w, time.Now().Add(c.config.LateReply)) {
		return answered(<-w.reply)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.suspect(w.requestedAt, heard)
	}
	return Envelope{}, fmt.Errorf("%w to %s", ErrNoReply, r.Name)
}

func answered(e Envelope) (Envelope, error) { return e, e.Err() }

// publish posts one event. Its error wraps ErrNotSent or ErrRefused; any other
// means that the outcome is unknown.
func (c *Client) publish(ctx context.Context, name string, body []byte) error {
	err := c.publishOnce(ctx, name, body)
	// A refused token means that the event was not accepted, so sending it
	// again with another token cannot make two of it.
	changed, final := c.tokenRefused(err)
	if final != nil {
		c.fail(final)
	}
	if changed {
		err = c.publishOnce(ctx, name, body)
	}
	return err
}

func (c *Client) publishOnce(ctx context.Context, name string, body []byte) error {
	token, err := c.config.Token.Token()
	if err != nil {
		c.publishes.notSent.Inc()
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	reply, err := c.publisher.post(ctx, token, body)
	switch {
	case errors.Is(err, errUnsent):
		c.publishes.notSent.Inc()
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	case err != nil:
		c.publishes.unknown.Inc()
		c.config.Logger.Debug("events publish has an unknown outcome; its reply is waited for", "event", name, "cause", err)
		return err
	case reply.status == http.StatusBadGateway, reply.status == http.StatusGatewayTimeout:
		// A proxy's words: it may have passed the event on all the same.
		c.publishes.unknown.Inc()
		return fmt.Errorf("the publish of %s was answered %d by a gateway before the Events API", name, reply.status)
	case !reply.accepted:
		c.publishes.refused.Inc()
		return withToken(&RefusedError{Event: name, Status: reply.status, Reason: reply.reason}, token, "publishing")
	}
	c.publishes.accepted.Inc()
	return nil
}
