package backend

import (
	"context"
	"errors"
	"net/http"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// Reach waits for a moment if the stream of replies to action is lost.
func (b *Events) Reach(ctx context.Context, action Action) error {
	_, reply := exchange(action)
	if err := b.client.Connected(ctx, reply); err != nil {
		return events.Failure(err, asked)
	}
	return nil
}

// exchange names the request for action, and the reply to it.
func exchange(action Action) (request, reply string) {
	if action == Stop {
		return events.StopRequest, stopReply
	}
	return events.StartRequest, startReply
}

// Apply publishes op and returns once the worker accepted it. It is never
// published again: after a deadline or nonsense the outcome is unknown, and a
// reply that comes later and makes sense goes to op.Late.
func (b *Events) Apply(ctx context.Context, op Operation) error {
	name, reply := exchange(op.Action)
	request := events.Request{
		Name:          name,
		Reply:         reply,
		CorrelationID: op.ID,
		Payload: struct {
			Runtime   string `json:"runtime"`
			Account   string `json:"account_id"`
			RequestID string `json:"request_id"`
		}{lifecycle.Runtime, op.Account, op.RequestID},
	}
	if op.Late != nil {
		request.Late = func(e events.Envelope) { op.Late(decodeAccepted(e)) }
		request.Nonsense = func(e events.Envelope) bool { return errors.Is(decodeAccepted(e), events.ErrMalformed) }
	}
	envelope, err := b.client.Request(ctx, request)
	if err == nil {
		err = decodeAccepted(envelope)
	} else {
		err = events.Failure(err, asked)
	}
	if mayHaveActed(err) {
		b.keeper.Invalidate()
	}
	return err
}

// mayHaveActed is false only when the request certainly never went out. It goes
// by the status, because the code may be a word of the worker's own.
func mayHaveActed(err error) bool {
	var e *apierror.Error
	return !errors.As(err, &e) || e.HTTPStatus() != http.StatusServiceUnavailable || e.OutcomeUnknown
}
