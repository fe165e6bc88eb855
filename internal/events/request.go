package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// proofWait is how long a request still waits for its reply once the answer to
// its publish has left the outcome unknown.
const proofWait = 2 * time.Second

// Request is one event to publish, and the reply to wait for, which is decoded
// into a T.
type Request[T any] struct {
	Name  string // the event to publish
	Reply string // one of Config.Replies
	// CorrelationID is unique among the requests that wait for Reply.
	CorrelationID string
	Payload       any // as encoding/json takes it
	// Lifecycle marks a request that must not be carried out twice: it is
	// published once, on a connection of its own. Any other may be published
	// again when its connection breaks.
	Lifecycle bool
	// Decode reads a reply, once, before Do or Late have it. After an error
	// that wraps ErrMalformed the request stays open for a reply that can be
	// read. It is called by Run, one reply of a stream at a time, and must
	// return soon.
	Decode func(Envelope) (T, error)
	// Late, when set, is called at most once, with what Decode made of a reply
	// that came after Do had returned ErrNoReply or ErrMalformed, within
	// Config.LateReply. It is called by Run, several at a time, and may block
	// for a while.
	Late func(T)
}

// Do publishes r and returns what r.Decode made of the reply. It waits until
// the deadline of ctx, or Config.Timeout when it has none. Its other errors
// wrap ErrNotConnected, ErrNotSent or ErrRefused (nothing was carried out), or
// ErrNoReply (unknown). A lifecycle request is published twice only after a
// refused token was replaced.
func Do[T any](ctx context.Context, c *Client, r Request[T]) (T, error) {
	var none T
	body, err := json.Marshal(struct {
		Name          string `json:"name"`
		CorrelationID string `json:"correlationId"`
		Payload       any    `json:"payload"`
	}{r.Name, r.CorrelationID, r.Payload})
	if err != nil {
		return none, fmt.Errorf("BUG: the payload of %s: %w", r.Name, err)
	}
	request := &call{id: r.CorrelationID, decode: func(e Envelope) result {
		value, err := r.Decode(e)
		return result{value, err}
	}}
	if r.Late != nil {
		request.late = func(late result) { value, _ := late.value.(T); r.Late(value) }
	}
	got := c.exchange(ctx, r.Name, r.Reply, request, body, r.Lifecycle)
	value, _ := got.value.(T)
	return value, got.err
}

// exchange publishes body and waits for the reply at the same time: the reply
// may overtake the answer to the publish.
func (c *Client) exchange(ctx context.Context, name, reply string, request *call, body []byte, lifecycle bool) result {
	fail := func(format string, args ...any) result { return result{err: fmt.Errorf(format, args...)} }
	s := c.streams[reply]
	if s == nil || request.id == "" {
		return fail("BUG: a request needs a reply stream and a correlation id: %q, %q", reply, request.id)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.config.Timeout)
		defer cancel()
	}
	if err := c.Connected(ctx, reply); err != nil {
		return result{err: err}
	}
	requestedAt, received := time.Now(), s.received.Load()
	if !s.pending.add(request) {
		return fail("BUG: a request with correlation id %q waits already", request.id)
	}
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)

	// The publish has a context of its own: the reply may come first, and then
	// its answer is still read, so that a shared connection can be used again.
	deadline, _ := ctx.Deadline()
	publishing, stopPublish := context.WithDeadline(c.ended, deadline)
	published := make(chan error, 1)
	if !c.background(func() {
		defer stopPublish()
		published <- c.publish(publishing, name, body, lifecycle, func() bool { return s.pending.waits(request) })
	}) {
		stopPublish()
		s.pending.remove(request)
		return fail("%w: the client has ended", ErrNotConnected)
	}

	var cause error
	select {
	case r := <-request.done:
		c.publishes.count(nil) // the reply proves it
		if lifecycle {
			stopPublish()
		}
		return r
	case cause = <-published:
	case <-ctx.Done():
		stopPublish()
		cause = <-published // soon
	case <-c.ended.Done():
		cause = <-published // likewise
	}
	c.publishes.count(cause)
	var proof <-chan time.Time
	switch {
	case errors.Is(cause, ErrNotSent), errors.Is(cause, ErrRefused):
		if !s.pending.remove(request) {
			return <-request.done // the reply proves the refusal wrong
		}
		return result{err: cause}
	case cause != nil:
		timer := time.NewTimer(proofWait)
		defer timer.Stop()
		proof = timer.C
	}
	for waiting := true; waiting; {
		select {
		case r := <-request.done:
			return r
		case <-request.missed:
			// Its reply may have been lost with the stream. A question may be
			// asked twice, and has the same reply.
			if !lifecycle {
				c.background(func() {
					again, stop := context.WithDeadline(c.ended, deadline)
					defer stop()
					_ = c.publishOnce(again, name, body, false)
				})
			}
			continue
		case <-proof:
		case <-ctx.Done():
		case <-c.ended.Done():
		}
		waiting = false
	}
	if !s.pending.giveUp(request, time.Now().Add(c.config.LateReply)) {
		return <-request.done
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.suspect(requestedAt, received)
	}
	if cause != nil {
		return fail("%w to %s: %w", ErrNoReply, name, cause)
	}
	return fail("%w to %s", ErrNoReply, name)
}

// publish posts one event. Its error wraps ErrNotSent or ErrRefused; any other
// means that the outcome is unknown.
func (c *Client) publish(ctx context.Context, name string, body []byte, lifecycle bool, waits func() bool) error {
	err := c.publishOnce(ctx, name, body, lifecycle)
	// A refused token means that the event was not accepted, so sending it
	// again with another token cannot make two of it; unless the reply, which
	// came meanwhile, proves the refusal wrong.
	changed, final := c.tokenRefused(err)
	if final != nil {
		c.fail(final)
	}
	if changed && waits() {
		err = c.publishOnce(ctx, name, body, lifecycle)
	}
	return err
}

func (c *Client) publishOnce(ctx context.Context, name string, body []byte, lifecycle bool) error {
	token, err := c.config.Token.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	reply, err := c.publisher.post(ctx, token, body, lifecycle)
	switch {
	case errors.Is(err, errUnsent):
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	case err != nil:
		return err
	case reply.accepted:
		return nil
	case reply.status/100 == 4 || reply.status/100 == 2: // or accepted: false
		return withToken(&RefusedError{Event: name, Status: reply.status, Reason: reply.reason}, token, "publishing")
	}
	// A proxy may have passed the event on all the same.
	return fmt.Errorf("the publish of %s was answered %d %s", name, reply.status, http.StatusText(reply.status))
}
