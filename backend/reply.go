package backend

import (
	"cmp"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/busdk/bus-api-provider-vm/internal/events"
	"github.com/busdk/bus-api-provider-vm/internal/snapshot"
)

// unnamedProvider is shown when the worker does not say what it runs on.
const unnamedProvider = "events"

// maxState bounds a state, and a provider, in characters.
const maxState = 256

var (
	errNoState     = fmt.Errorf("%w: no non-empty string state", events.ErrMalformed)
	errTooLong     = fmt.Errorf("%w: a state or provider of more than %d characters", events.ErrMalformed, maxState)
	errNoAnswer    = fmt.Errorf("%w: neither a boolean accepted nor a state", events.ErrMalformed)
	errNotAccepted = errors.New("the worker answered accepted: false")
)

// decodeStatus reads a status reply. The status may be the payload, or its
// member status. Its error is an events.ErrMalformed or *events.RemoteError.
func decodeStatus(e events.Envelope) (snapshot.Status, error) {
	fields, err := e.Fields()
	if err != nil {
		return snapshot.Status{}, err
	}
	return readStatus(fields)
}

func readStatus(fields events.Fields) (snapshot.Status, error) {
	if state, ok := fields.Text("state"); (!ok || state == "") && fields["status"].Kind() == '{' {
		var err error
		if fields, err = events.ReadFields(fields["status"]); err != nil {
			return snapshot.Status{}, err
		}
	}
	status := snapshot.Status{Provider: unnamedProvider}
	var ok bool
	if status.State, ok = fields.Text("state"); !ok || status.State == "" {
		return snapshot.Status{}, errNoState
	}
	if provider, ok := fields.Text("provider"); ok && provider != "" {
		status.Provider = provider
	}
	if max(utf8.RuneCountInString(status.State), utf8.RuneCountInString(status.Provider)) > maxState {
		return snapshot.Status{}, errTooLong
	}
	var err error
	if fields["details"].Kind() == '{' {
		status.Details, err = fields.PassedOn("details")
	}
	return status, err
}

// decodeWrite returns nil when a lifecycle reply says that the runtime took the
// operation on: `accepted: true`, or a status. A no is an *Error or an
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
		return &Error{Kind: Rejection, Message: message, Cause: errNotAccepted}
	}
	if _, err = readStatus(fields); errors.Is(err, errNoState) {
		return errNoAnswer
	}
	return err
}
