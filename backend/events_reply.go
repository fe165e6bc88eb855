package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/busdk/bus-api-provider-vm/internal/apierror"
	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// unnamedProvider is shown when the worker does not say what it runs on.
const unnamedProvider = "events"

var (
	errNoState    = errors.New("no non-empty string state")
	errNoAnswer   = errors.New("neither a boolean accepted nor a state")
	errNoProvider = errors.New("provider is no string")
	errDetails    = errors.New("details are no object")
)

// replyPayload is the payload of a status or lifecycle reply. A status may
// stand in it or inside its member status.
type replyPayload struct {
	Accepted json.RawMessage `json:"accepted"`
	Message  json.RawMessage `json:"message"`
	statusPayload
	Status *statusPayload `json:"status"`
}

type statusPayload struct {
	State    json.RawMessage `json:"state"`
	Provider json.RawMessage `json:"provider"`
	Details  json.RawMessage `json:"details"`
}

// decodeStatus reads a status reply.
func decodeStatus(e events.Envelope) (snapshot.Status, error) {
	var payload replyPayload
	if err := e.Decode(&payload); err != nil {
		return snapshot.Status{}, events.Failure(err, asked)
	}
	status, err := payload.status()
	if err != nil {
		return snapshot.Status{}, malformed(err)
	}
	return status, nil
}

func malformed(cause error) *apierror.Error {
	return events.Failure(fmt.Errorf("%w: %w", events.ErrMalformed, cause), asked)
}

func (p replyPayload) status() (snapshot.Status, error) {
	s := p.statusPayload
	if !present(s.State) && p.Status != nil {
		s = *p.Status
	}
	state, ok := text(s.State)
	if !ok || state == "" {
		return snapshot.Status{}, errNoState
	}
	provider := unnamedProvider
	if present(s.Provider) {
		if provider, ok = text(s.Provider); !ok {
			return snapshot.Status{}, errNoProvider
		}
	}
	var details json.RawMessage
	if present(s.Details) {
		var compact bytes.Buffer
		if s.Details[0] != '{' || json.Compact(&compact, s.Details) != nil {
			return snapshot.Status{}, errDetails
		}
		details = compact.Bytes()
	}
	return snapshot.Status{State: state, Provider: provider, Details: details}, nil
}

// decodeAccepted returns nil when a lifecycle reply says that the runtime took
// the operation on: `accepted: true`, or a status. Everything else is a 502:
// after an error or `accepted: false` the worker did nothing, after nonsense
// the outcome is unknown.
func decodeAccepted(e events.Envelope) error {
	if err := e.Err(); err != nil {
		return events.Failure(err, asked)
	}
	var payload replyPayload
	if err := e.Decode(&payload); err != nil {
		return unclear(err)
	}
	switch string(payload.Accepted) {
	case "true":
		return nil
	case "false":
		return notAccepted(payload.Message)
	}
	if _, err := payload.status(); err == nil {
		return nil
	}
	return unclear(fmt.Errorf("%w: %w", events.ErrMalformed, errNoAnswer))
}

// unclear is what the caller of a write reads about nonsense.
func unclear(cause error) *apierror.Error {
	e := events.Failure(cause, asked)
	e.Message += " It may still act on the request."
	e.OutcomeUnknown = true
	return e
}

// notAccepted passes on why the worker said no, where it did.
func notAccepted(reason json.RawMessage) *apierror.Error {
	message, ok := text(reason)
	if !ok || message == "" {
		message = "The runtime did not accept the operation."
	}
	return apierror.Upstream(apierror.BadGateway, events.Clean(message), errors.New("the worker answered accepted: false"))
}

func text(raw json.RawMessage) (string, bool) {
	var s *string
	if raw == nil || json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func present(raw json.RawMessage) bool { return raw != nil && string(raw) != "null" }
