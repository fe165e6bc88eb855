package backend

import (
	"context"
	"errors"
	"net/http"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Apply publishes op and returns once the worker accepted it. It is never
// published again: after a deadline the outcome is unknown, and a reply that
// comes later goes to op.Late.
func (b *Events) Apply(ctx context.Context, op Operation) error {
	request := events.Request{
		Name:          events.StartRequest,
		Reply:         startReply,
		CorrelationID: op.ID,
		Payload: struct {
			Runtime   string `json:"runtime"`
			Account   string `json:"account_id"`
			RequestID string `json:"request_id"`
		}{runtime, op.Account, op.RequestID},
	}
	if op.Action == Stop {
		request.Name, request.Reply = events.StopRequest, stopReply
	}
	if op.Late != nil {
		request.Late = func(e events.Envelope) { op.Late(decodeAccepted(e)) }
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
