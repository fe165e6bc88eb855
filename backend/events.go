package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// Events drives a real runtime: a worker on the Bus Events API answers for it.
// Reads come from a snapshot, writes are one request and its reply each.
type Events struct {
	*snapshot.Keeper
	client *events.Client
}

// EventsConfig configures NewEvents.
type EventsConfig struct {
	// Client is the connection to Bus Events. It must subscribe to EventsReplies; its
	// owner runs it, but not before NewEvents.
	Client *events.Client
	// Status is of the snapshot. NewEvents sets its Fetch and Streams.
	Status snapshot.Config
	// Settle is called with what a reply says about an operation that no Apply of
	// this process waits for: its own, or that of any other process. A reply that
	// accepts has no rejection. It must return soon, unless the reply is from the
	// history: then news is not nil, and is called before what is not known is settled.
	Settle func(id string, rejection error, news func())
	// Overheard is called with each acceptance among those replies that is not from
	// the history. It must return at once.
	Overheard func(id string, action lifecycle.Action)
}

const runtime = "runtime" // who is asked, in messages to callers

var statusReply = events.ReplyName(events.StatusRequest)

// writes are the requests of the two actions, the replies to them, and the states
// that they lead through.
var writes = map[lifecycle.Action]struct{ request, reply, through string }{
	lifecycle.Start: {events.StartRequest, events.ReplyName(events.StartRequest), "starting"},
	lifecycle.Stop:  {events.StopRequest, events.ReplyName(events.StopRequest), "stopping"},
}

// WriteReplies are the reply streams of starts and stops, and EventsReplies all
// that NewEvents needs its client to subscribe to.
func WriteReplies() []string {
	return []string{writes[lifecycle.Start].reply, writes[lifecycle.Stop].reply}
}
func EventsReplies() []string { return append(WriteReplies(), statusReply) }

// NewEvents returns an events backend.
func NewEvents(config EventsConfig) *Events {
	client := config.Client
	b := &Events{client: client}
	config.Status.Streams = len(writes)
	config.Status.Fetch = func(ctx context.Context) (snapshot.Status, error) {
		status, err := AskStatus(ctx, client)
		return status, lifecycle.Failure(err, runtime, false)
	}
	b.Keeper = snapshot.New(config.Status)
	// Replicas under one identity receive each other's replies. An accepted
	// write invalidates what all of them show; another status than the shown one
	// makes a refresh due.
	client.Observe(statusReply, func(e events.Envelope) {
		if status, err := decodeStatus(e); err == nil && !e.Replayed {
			b.Hint(status.State)
		}
	})
	for action, write := range writes {
		client.OnStream(write.reply, b.Stream)
		client.Observe(write.reply, func(e events.Envelope) {
			outcome, no := b.decode(e, action, false)
			var news func()
			if e.Replayed {
				news = b.Invalidate
			}
			if outcome != lifecycle.Unknown {
				config.Settle(e.CorrelationID, lifecycle.Failure(no, runtime, false), news)
			}
			if outcome == lifecycle.Accepted && !e.Replayed {
				config.Overheard(e.CorrelationID, action)
			}
		})
	}
	return b
}

// See returns the status of the snapshot; without one it waits for the refresh that
// all waiting callers share.
func (b *Events) See(ctx context.Context) (*Seen, error) {
	seen, err := b.Read(ctx)
	if _, known := err.(*lifecycle.Error); !known && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = &lifecycle.Error{Kind: lifecycle.Unavailable, Message: "The runtime did not tell its status in time.",
			Cause: fmt.Errorf("no reply came to %s: %w", events.StatusRequest, err)}
	}
	return seen, err
}

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
func (b *Events) Reach(ctx context.Context, action lifecycle.Action) error {
	return lifecycle.Failure(b.client.Connected(ctx, writes[action].reply), runtime, false)
}

// Apply publishes op and returns what the worker said. It is never published
// again: after a deadline or a malformed reply the outcome is unknown, and a later
// reply goes to EventsConfig.Settle.
func (b *Events) Apply(ctx context.Context, op lifecycle.Operation) (lifecycle.Outcome, error) {
	var outcome lifecycle.Outcome // of the reply, if one came
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
		return lifecycle.Accepted, nil
	case errors.Is(err, events.ErrNotSent):
		outcome = lifecycle.NotSent
	case outcome != lifecycle.Rejected:
		outcome = lifecycle.Unknown
		b.Invalidate() // it may have been carried out
	}
	return outcome, lifecycle.Failure(err, runtime, outcome == lifecycle.Unknown)
}

// decode reads a reply to action, one that an Apply waits for or another. The
// snapshot is invalidated before the caller is answered; by one from the history
// only where that is news, see EventsConfig.Settle.
func (b *Events) decode(e events.Envelope, action lifecycle.Action, own bool) (lifecycle.Outcome, error) {
	err := decodeWrite(e)
	switch {
	case err == nil:
		if own || !e.Replayed {
			b.Accepted(action.Target(), own)
		}
		return lifecycle.Accepted, nil
	case errors.Is(err, events.ErrMalformed):
		return lifecycle.Unknown, err
	}
	return lifecycle.Rejected, err
}

// maxState bounds a state, and a provider, in characters.
const maxState = 256

var (
	errNoState     = fmt.Errorf("%w: no non-empty string state", events.ErrMalformed)
	errTooLong     = fmt.Errorf("%w: a state or provider of more than %d characters", events.ErrMalformed, maxState)
	errNoAnswer    = fmt.Errorf("%w: neither a boolean accepted nor a state", events.ErrMalformed)
	errNotAccepted = errors.New("the worker answered accepted: false")
)

// decodeStatus reads a status reply. The status may be the payload, or its member
// status; a worker that does not say what it runs on is "events". The error is an
// events.ErrMalformed or an *events.RemoteError.
func decodeStatus(e events.Envelope) (status snapshot.Status, _ error) {
	fields, err := e.Fields()
	if err == nil {
		status, err = readStatus(fields)
	}
	return status, err
}

func readStatus(fields events.Fields) (status snapshot.Status, err error) {
	text := func(name string) string { // empty where it is none
		if text, ok := fields.Text(name); ok {
			return text
		}
		return ""
	}
	if text("state") == "" && fields["status"].Kind() == '{' {
		if fields, err = events.ReadFields(fields["status"]); err != nil {
			return status, err
		}
	}
	status = snapshot.Status{State: text("state"), Provider: cmp.Or(events.Clean(text("provider")), "events")}
	switch {
	case status.State == "":
		return status, errNoState
	case max(utf8.RuneCountInString(status.State), utf8.RuneCountInString(status.Provider)) > maxState:
		return status, errTooLong
	case fields["details"].Kind() == '{':
		status.Details, err = fields.PassedOn("details")
	}
	return status, err
}

// decodeWrite returns nil when a lifecycle reply says that the runtime took the
// operation on: `accepted: true`, or a status. A no is an *lifecycle.Error or an
// *events.RemoteError; anything else is an events.ErrMalformed.
func decodeWrite(e events.Envelope) error {
	fields, err := e.Fields()
	if err != nil {
		return err
	}
	accepted, ok := fields.Bool("accepted")
	switch {
	case ok && accepted:
		return nil
	case ok:
		message, _ := fields.Text("message")
		message = cmp.Or(events.Clean(message), "The runtime did not accept the operation.")
		return &lifecycle.Error{Kind: lifecycle.Rejection, Message: message, Cause: errNotAccepted}
	}
	if _, err = readStatus(fields); errors.Is(err, errNoState) {
		return errNoAnswer
	}
	return err
}
