package usage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Reply is the reply stream that a Publisher needs its client to subscribe to.
var Reply = events.ReplyName(events.UsageRequest)

// final are words in the errors of the integration that speak of the record, not
// of the integration: sending the record again changes nothing. What is not known
// to be final is taken for something that passes.
var final = []string{
	"invalid", "malformed", "validation", "unsupported", "bad_request", "bad request",
	"not_found", "not found", "unknown_account", "unknown account", "no_such", "no such",
}

// isFinal reports an error that will come again. An older integration puts all it
// has to say into one text, another numbers its errors as HTTP does.
func isFinal(e *events.RemoteError) bool {
	kind := e.Type
	if kind == events.UnnamedError {
		kind = e.Message
	}
	switch kind {
	case "400", "404", "413", "422":
		return true
	}
	kind = strings.ToLower(kind)
	return slices.ContainsFunc(final, func(word string) bool { return strings.Contains(kind, word) })
}

// Publisher sends records to the usage integration over Events.
type Publisher struct{ Client *events.Client }

// Send publishes a record and returns nil once the integration acknowledged it. Each
// time it has the same correlation id: so an acknowledgement counts however late it
// comes, see Acknowledged. An error that wraps ErrRefused is final.
func (p Publisher) Send(ctx context.Context, correlationID string, record Record) error {
	err := p.Client.Do(ctx, events.Request{
		Name:          events.UsageRequest,
		CorrelationID: correlationID,
		Payload:       record,
		Decode:        events.Envelope.Err,
	})
	if remote, ok := errors.AsType[*events.RemoteError](err); ok && isFinal(remote) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Acknowledged calls see with the correlation id of each record that the integration
// acknowledges and no Send of this process waits for; replayed ones are from the
// history. It belongs before the client runs.
func (p Publisher) Acknowledged(see func(correlationID string, replayed bool)) {
	p.Client.Observe(Reply, func(e events.Envelope) {
		if e.Err() == nil {
			see(e.CorrelationID, e.Replayed)
		}
	})
}
