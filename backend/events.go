package backend

import (
	"context"
	"errors"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// EventsConfig configures the events backend.
type EventsConfig struct {
	// Client is the connection to Bus Events. It must listen to EventsReplies,
	// and whoever made it runs it.
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

// asked is who is asked, in messages to callers.
const asked = "runtime"

// replyNames are the replies to the requests of the backend.
var (
	statusReply = events.ReplyName(events.StatusRequest)
	startReply  = events.ReplyName(events.StartRequest)
	stopReply   = events.ReplyName(events.StopRequest)
)

// EventsReplies are the reply streams that NewEvents needs its client to hear.
func EventsReplies() []string { return []string{statusReply, startReply, stopReply} }

// NewEvents returns an events backend. It must be called before its client runs.
func NewEvents(config EventsConfig) *Events {
	b := &Events{client: config.Client}
	b.keeper = snapshot.New(snapshot.Config{
		Fetch:         b.fetch,
		MaxAge:        config.MaxAge,
		Refresh:       config.Refresh,
		RefreshMoving: config.RefreshMoving,
		Timeout:       config.Timeout,
		Metrics:       config.Metrics,
	})
	// Replicas under one identity hear each other's replies: statuses are
	// shared, and an accepted write takes down what all of them show.
	config.Client.Observe(statusReply, b.seeStatus)
	config.Client.Observe(startReply, b.seeWrite)
	config.Client.Observe(stopReply, b.seeWrite)
	// While a stream was away a write may have been accepted unseen, also
	// before it opened for the first time: statuses have a stream of their own.
	config.Client.OnGap(func(reply string) {
		if reply == startReply || reply == stopReply {
			b.keeper.Invalidate()
		}
	})
	return b
}

// Status returns the document of the snapshot; without one it waits for the
// refresh that all waiting callers share.
func (b *Events) Status(ctx context.Context) ([]byte, error) {
	document, err := b.keeper.Read(ctx)
	if err == nil {
		return document, nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil, apierror.UnavailableAfter(events.RetryAfter, "The runtime did not tell its status in time.", err)
	}
	return nil, err
}

// Run keeps the snapshot fresh while it is read.
func (b *Events) Run(ctx context.Context) error { return b.keeper.Run(ctx) }

// fetch asks the worker for the status.
func (b *Events) fetch(ctx context.Context) (snapshot.Status, error) {
	reply, err := b.client.Request(ctx, events.Request{
		Name:          events.StatusRequest,
		Reply:         statusReply,
		CorrelationID: snapshot.CorrelationID(),
		Payload: struct {
			Runtime string `json:"runtime"`
		}{lifecycle.Runtime},
	})
	if err != nil {
		return snapshot.Status{}, events.QuestionFailure(err, asked)
	}
	return decodeStatus(reply)
}

// seeStatus shares what others asked for; own answers go through fetch.
func (b *Events) seeStatus(e events.Envelope) {
	if !e.RequestedAt.IsZero() || e.Err() != nil {
		return
	}
	if status, err := decodeStatus(e); err == nil {
		b.keeper.Share(e.CorrelationID, status)
	}
}

// seeWrite takes the snapshot down before the caller of the write learns that
// it was accepted.
func (b *Events) seeWrite(e events.Envelope) {
	if decodeAccepted(e) == nil {
		b.keeper.Invalidate()
	}
}
