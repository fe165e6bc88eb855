package usage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/internal/events"
)

// Reply is the reply stream that a Publisher needs its client to subscribe to.
var Reply = events.ReplyName(events.UsageRequest)

// passing are words in the types of errors that speak of the integration, not
// of the record.
var passing = []string{"unavailable", "timeout", "overload", "busy", "rate_limit", "too_many", "internal", "storage"}

// passes reports an error that may not come again. An older integration puts all
// it has to say into one text, another numbers its errors as HTTP does.
func passes(e *events.RemoteError) bool {
	kind := e.Type
	if kind == events.UnnamedError {
		kind = e.Message
	}
	if code, err := strconv.Atoi(kind); err == nil {
		return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code/100 == 5
	}
	kind = strings.ToLower(kind)
	return slices.ContainsFunc(passing, func(word string) bool { return strings.Contains(kind, word) })
}

// Publisher sends records to the usage integration over Events.
type Publisher struct{ client *events.Client }

// NewPublisher returns a Publisher that sends through client.
func NewPublisher(client *events.Client) *Publisher { return &Publisher{client} }

// Send publishes r and returns nil once the integration acknowledged it. An
// error that wraps ErrRefused is final; after any other r may be sent again,
// as its event id makes it count once.
func (p *Publisher) Send(ctx context.Context, r Record) error {
	_, err := events.Do(ctx, p.client, events.Request[struct{}]{
		Name:          events.UsageRequest,
		Reply:         Reply,
		CorrelationID: uuid.NewString(),
		Payload:       r,
		Decode:        func(e events.Envelope) (struct{}, error) { return struct{}{}, e.Err() },
	})
	var remote *events.RemoteError
	if errors.As(err, &remote) && !passes(remote) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
