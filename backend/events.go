package backend

import (
	"context"
	"errors"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// EventsConfig configures the events backend.
type EventsConfig struct {
	// Client is the connection to Bus Events. It must subscribe to
	// EventsReplies, and its owner runs it.
	Client *events.Client
	// MaxAge, Refresh, RefreshMoving: see snapshot.Config.
	MaxAge, Refresh, RefreshMoving time.Duration
	// Timeout bounds how long a read waits when there is no snapshot; default 30 s.
	Timeout time.Duration
	// Metrics gets the counters of the snapshot; nil for none.
	Metrics *metrics.Set
}

// Events drives a real runtime: a worker on the Bus Events API answers for it.
// Reads come from a snapshot, writes are one request and its reply each.
type Events struct {
	client *events.Client
	keeper *snapshot.Keeper
}

// runtime is who is asked, in messages to callers.
const runtime = "runtime"

// The requests of the backend, and the replies to them.
var (
	statusReply   = events.ReplyName(events.StatusRequest)
	writeRequests = map[Action]string{Start: events.StartRequest, Stop: events.StopRequest}
	writeReplies  = map[Action]string{
		Start: events.ReplyName(events.StartRequest),
		Stop:  events.ReplyName(events.StopRequest),
	}
)

// targets are the states that writes lead to.
var targets = map[Action]string{Start: "ready", Stop: "stopped"}

// EventsReplies are the reply streams that NewEvents needs its client to
// subscribe to.
func EventsReplies() []string {
	return []string{statusReply, writeReplies[Start], writeReplies[Stop]}
}

// NewEvents returns an events backend. It must be called before its client runs.
func NewEvents(config EventsConfig) *Events {
	b := &Events{client: config.Client}
	b.keeper = snapshot.New(snapshot.Config{
		Fetch:         b.fetch,
		MaxAge:        config.MaxAge,
		Refresh:       config.Refresh,
		RefreshMoving: config.RefreshMoving,
		Timeout:       config.Timeout,
		Streams:       len(writeReplies),
		Metrics:       config.Metrics,
	})
	// Replicas under one identity receive each other's replies. An accepted
	// write invalidates what all of them show; another status than the shown one
	// makes a refresh due.
	config.Client.Observe(statusReply, func(e events.Envelope) {
		if status, err := decodeStatus(e); err == nil {
			b.keeper.Hint(status.State)
		}
	})
	for action, reply := range writeReplies {
		config.Client.Observe(reply, func(e events.Envelope) { _, _ = b.decode(action, false)(e) })
	}
	config.Client.OnStream(func(reply string, up bool) {
		if reply == writeReplies[Start] || reply == writeReplies[Stop] {
			b.keeper.Stream(up)
		}
	})
	return b
}

// Status returns the document of the snapshot; without one it waits for the
// refresh that all waiting callers share.
func (b *Events) Status(ctx context.Context) ([]byte, error) {
	document, err := b.keeper.Read(ctx)
	if _, told := err.(*Error); !told && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = &Error{Kind: Unavailable, Message: "The runtime did not tell its status in time.", Cause: err}
	}
	return document, err
}

// Run keeps the snapshot fresh while it is read.
func (b *Events) Run(ctx context.Context) error { return b.keeper.Run(ctx) }

// fetch asks the worker for the status.
func (b *Events) fetch(ctx context.Context) (snapshot.Status, error) {
	status, err := events.Do(ctx, b.client, events.Request[snapshot.Status]{
		Name:          events.StatusRequest,
		Reply:         statusReply,
		CorrelationID: uuid.NewString(),
		Payload: struct {
			Runtime string `json:"runtime"`
		}{lifecycle.Runtime},
		Decode: decodeStatus,
	})
	if err != nil {
		err = lifecycle.Failure(err, runtime, false)
	}
	return status, err
}

// Reach waits for a moment if the stream of replies to action is lost.
func (b *Events) Reach(ctx context.Context, action Action) error {
	if err := b.client.Connected(ctx, writeReplies[action]); err != nil {
		return lifecycle.Failure(err, runtime, false)
	}
	return nil
}

// Apply publishes op and returns what the worker said. It is never published
// again: after a deadline or a malformed reply the outcome is unknown, and what
// a later reply proves goes to op.Late.
func (b *Events) Apply(ctx context.Context, op Operation) (Outcome, error) {
	request := events.Request[Outcome]{
		Name:          writeRequests[op.Action],
		Reply:         writeReplies[op.Action],
		CorrelationID: op.ID,
		Payload: struct {
			Runtime   string `json:"runtime"`
			Account   string `json:"account_id"`
			RequestID string `json:"request_id"`
		}{lifecycle.Runtime, op.Account, op.RequestID},
		Lifecycle: true,
		Decode:    b.decode(op.Action, true),
	}
	if op.Late != nil {
		request.Late = op.Late
	}
	outcome, err := events.Do(ctx, b.client, request)
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

// decode reads the replies to action, this process's own or those of others.
// The snapshot is invalidated before the caller is answered.
func (b *Events) decode(action Action, own bool) func(events.Envelope) (Outcome, error) {
	return func(e events.Envelope) (Outcome, error) {
		err := decodeWrite(e)
		switch {
		case err == nil:
			b.keeper.Accepted(targets[action], own)
			return Accepted, nil
		case errors.Is(err, events.ErrMalformed):
			return Unknown, err
		}
		return Rejected, err
	}
}
