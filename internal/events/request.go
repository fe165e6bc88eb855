package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
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

// What Do returns, to be told apart with errors.Is; a *RemoteError, with
// errors.As.
var (
	// ErrNotConnected: the reply stream is down, and has been for longer than
	// Config.ConnectWait. Nothing was published.
	ErrNotConnected = errors.New("the reply stream is not connected")
	// ErrNotSent: the publish could not begin: no connection, no token, or no
	// time left. Nothing was published.
	ErrNotSent = errors.New("the event could not be sent")
	// ErrRefused: the Events API answered the publish with a refusal; see
	// RefusedError. The request was not accepted.
	ErrRefused = errors.New("the Events API refused the event")
	// ErrNoReply: the event was published, or may have been, and no reply came
	// in time. The request may have been carried out, or may still be.
	ErrNoReply = errors.New("no reply came")
	// ErrMalformed: a reply's payload is not what it should be (see
	// Envelope.Fields). The request may have been carried out.
	ErrMalformed = errors.New("the reply is malformed")
)

// ErrTokenRefused is wrapped by what Run returns when the Events API refuses a
// token that will not change.
var ErrTokenRefused = errors.New("the Events API refused the token")

// RefusedError is an ErrRefused with what the Events API said. A Status of 2xx
// means that it answered `"accepted":false`.
type RefusedError struct {
	Event  string
	Status int
	// Reason is the API's own text, cleaned as in RemoteError; may be empty.
	Reason string
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the Events API refused %s with %d %s", e.Event, e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

// Is makes a RefusedError an ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// tokenRefusal is a RefusedError that concerns the token.
type tokenRefusal struct {
	*RefusedError
	token secret.String
	doing string // what it was refused for
}

func (e *tokenRefusal) Unwrap() error { return e.RefusedError }

// withToken makes a tokenRefusal of an error that is one, and leaves others.
func withToken(err error, token secret.String, doing string) error {
	var refusal *RefusedError
	if errors.As(err, &refusal) && (refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden) {
		return &tokenRefusal{refusal, token, doing}
	}
	return err
}

// tokenRefused deals with err if it is a tokenRefusal: either the token has
// changed and err may be a thing of the past, or it may change later, or, if
// final is set, it never will. That is one line for the operator.
func (c *Client) tokenRefused(err error) (changed bool, final error) {
	var refusal *tokenRefusal
	if !errors.As(err, &refusal) {
		return false, nil
	}
	changed, final = c.config.Token.Refused(refusal.token)
	if final == nil {
		return changed, nil
	}
	reason := ""
	if refusal.Reason != "" {
		reason = " (" + refusal.Reason + ")"
	}
	return false, fmt.Errorf("%w in BUS_API_TOKEN: %s %s was answered %d %s%s; it needs the scope %q, and all that is enabled needs %q; "+
		"put a valid token there, or use --token-file to replace it while running",
		final, refusal.doing, refusal.Event, refusal.Status, http.StatusText(refusal.Status), reason,
		strings.Join(ScopesFor(refusal.Event), " "), strings.Join(ScopesFor(c.config.Replies...), " "))
}
