package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// Events drives a real runtime: a worker on the Bus Events API answers for it.
// Reads come from a snapshot, writes are one request and its reply each.
type Events struct {
	client *events.Client
	keeper *snapshot.Keeper
}

// runtime is who is asked, in messages to callers.
const runtime = "runtime"

// statusReply answers the question for the status.
var statusReply = events.ReplyName(events.StatusRequest)

// writes are the requests of the two actions, the replies to them, and the states
// that they lead through.
var writes = map[Action]struct{ request, reply, through string }{
	Start: {events.StartRequest, events.ReplyName(events.StartRequest), "starting"},
	Stop:  {events.StopRequest, events.ReplyName(events.StopRequest), "stopping"},
}

// WriteReplies are the reply streams of starts and stops, and EventsReplies all
// that NewEvents needs its client to subscribe to.
func WriteReplies() []string  { return []string{writes[Start].reply, writes[Stop].reply} }
func EventsReplies() []string { return append(WriteReplies(), statusReply) }

// NewEvents returns an events backend.
func NewEvents(config Config) *Events {
	client := config.Client
	b := &Events{client: client}
	config.Status.Streams = len(writes)
	config.Status.Fetch = func(ctx context.Context) (snapshot.Status, error) {
		status, err := AskStatus(ctx, client)
		return status, lifecycle.Failure(err, runtime, false)
	}
	b.keeper = snapshot.New(config.Status)
	// Replicas under one identity receive each other's replies. An accepted
	// write invalidates what all of them show; another status than the shown one
	// makes a refresh due.
	client.Observe(statusReply, func(e events.Envelope) {
		if status, err := decodeStatus(e); err == nil && !e.Replayed {
			b.keeper.Hint(status.State)
		}
	})
	for action, write := range writes {
		client.Observe(write.reply, func(e events.Envelope) {
			outcome, no := b.decode(e, action, false)
			if outcome != Unknown && config.Settle != nil {
				config.Settle(e.CorrelationID, lifecycle.Failure(no, runtime, false), e.Replayed)
			}
			if outcome == Accepted && !e.Replayed && config.Overheard != nil {
				config.Overheard(e.CorrelationID, action)
			}
		})
	}
	client.OnStream(func(reply string, up bool) {
		if reply == writes[Start].reply || reply == writes[Stop].reply {
			b.keeper.Stream(up)
		}
	})
	return b
}

// See returns the status of the snapshot; without one it waits for the refresh that
// all waiting callers share.
func (b *Events) See(ctx context.Context) (*Seen, error) {
	seen, err := b.keeper.Read(ctx)
	if _, known := err.(*Error); !known && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = &Error{Kind: Unavailable, Message: "The runtime did not tell its status in time.",
			Cause: fmt.Errorf("no reply came to %s: %w", events.StatusRequest, err)}
	}
	return seen, err
}

// AcceptedAt is for a write of another process, whose reply may not have come here yet.
func (b *Events) AcceptedAt(at time.Time) { b.keeper.AcceptedAt(at) }

// Latest is that of Backend.
func (b *Events) Latest() (*Seen, <-chan struct{}) { return b.keeper.Latest() }

// Follow has the status be refreshed as if it were read all the time.
func (b *Events) Follow() (release func()) { return b.keeper.Follow() }

// Run keeps the snapshot fresh while it is read.
func (b *Events) Run(ctx context.Context) error { return b.keeper.Run(ctx) }

// AskStatus asks the worker for the status, once. Its errors are those of
// events.Client.Do.
func AskStatus(ctx context.Context, client *events.Client) (status snapshot.Status, _ error) {
	err := client.Do(ctx, events.Request{
		Name:          events.StatusRequest,
		CorrelationID: uuid.NewString(),
		Payload:       map[string]string{"runtime": lifecycle.Runtime},
		Decode:        func(e events.Envelope) (err error) { status, err = decodeStatus(e); return err },
	})
	return status, err
}

// Reach waits for a moment if the stream of replies to action is lost.
func (b *Events) Reach(ctx context.Context, action Action) error {
	return lifecycle.Failure(b.client.Connected(ctx, writes[action].reply), runtime, false)
}

// Apply publishes op and returns what the worker said. It is never published
// again: after a deadline or a malformed reply the outcome is unknown, and a later
// reply goes to Config.Settle.
func (b *Events) Apply(ctx context.Context, op Operation) (Outcome, error) {
	var outcome Outcome // of the reply, if one came
	err := b.client.Do(ctx, events.Request{
		Name:          writes[op.Action].request,
		CorrelationID: op.ID,
		Payload:       map[string]string{"runtime": lifecycle.Runtime, "account_id": op.Account, "request_id": op.RequestID},
		Lifecycle:     true,
		Decode:        func(e events.Envelope) (err error) { outcome, err = b.decode(e, op.Action, true); return err },
		Permit:        op.Permit,
	})
	switch {
	case err == nil:
		return Accepted, nil
	case errors.Is(err, events.ErrNotConnected), errors.Is(err, events.ErrNotSent), errors.Is(err, events.ErrRefused):
		outcome = NotSent
	case outcome != Rejected:
		outcome = Unknown
		b.keeper.Invalidate() // it may have been carried out
	}
	return outcome, lifecycle.Failure(err, runtime, outcome == Unknown)
}

// decode reads a reply to action, one that an Apply waits for or another. The
// snapshot is invalidated before the caller is answered. Others from the history
// change nothing there: a stream that opens has invalidated it.
func (b *Events) decode(e events.Envelope, action Action, own bool) (Outcome, error) {
	err := decodeWrite(e)
	switch {
	case err == nil:
		if own || !e.Replayed {
			b.keeper.Accepted(action.Target(), own)
		}
		return Accepted, nil
	case errors.Is(err, events.ErrMalformed):
		return Unknown, err
	}
	return Rejected, err
}
