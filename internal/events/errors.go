package events

import (
	"errors"
	"fmt"
	"net/http"
)

// What Do returns, to be told apart with errors.Is; a *RemoteError, with
// errors.As.
var (
	// ErrNotConnected: the reply stream is down, and has been for longer than
	// Config.ConnectWait. Nothing was published.
	ErrNotConnected = errors.New("the reply stream is not connected")
	// ErrNotSent: the publish could not begin: no connection, no token, or no
	// time left. Nothing was published.
	ErrNotSent = errors.New("the event could not be sent")
	// ErrRefused: the Events API answered the publish with a refusal; see
	// RefusedError. The request was not accepted.
	ErrRefused = errors.New("the Events API refused the event")
	// ErrNoReply: the event was published, or may have been, and no reply came
	// in time. The request may have been carried out, or may still be.
	ErrNoReply = errors.New("no reply came")
	// ErrMalformed: a reply's payload is not what it should be (see
	// Envelope.Fields). The request may have been carried out.
	ErrMalformed = errors.New("the reply is malformed")
)

// ErrTokenRefused is wrapped by what Run returns when the Events API refuses a
// token that will not change.
var ErrTokenRefused = errors.New("the Events API refused the token")

// RefusedError is an ErrRefused with what the Events API said. A Status of 2xx
// means that it answered `"accepted":false`.
type RefusedError struct {
	Event  string
	Status int
	// Reason is the API's own text, cleaned as in RemoteError; may be empty.
	Reason string
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the Events API refused %s with %d %s", e.Event, e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

// Is makes a RefusedError an ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }
