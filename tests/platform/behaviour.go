package platform

import (
	"encoding/json"
	"slices"
	"time"
)

// Behaviour is how a worker treats some requests. The zero value concerns
// every request and treats it well.
type Behaviour struct {
	// Names limits it to these request names; empty means all.
	Names []string
	// Accounts limits it to requests about these; empty means all.
	Accounts []string
	// Times limits it to so many requests, the first ones; zero means all.
	Times  int
	struck int
	// Rate is the chance that it strikes a request; zero means always.
	Rate float64

	// Deaf loses the request: it is neither carried out nor answered.
	Deaf bool
	// Refuse answers with an event error and does not carry the request out.
	Refuse *EventError
	// Silent carries the request out and does not answer.
	Silent bool
	// Payload replaces the payload of the reply, whatever it says.
	Payload json.RawMessage
	// Echo adds request_id, account_id and correlation_id of the request to
	// the reply: in `details`, for billing in `usage`, for an event error in
	// its message. A reply that reached the wrong caller then shows.
	Echo bool
	// Delay holds the reply back, and Jitter by up to so much more, which
	// puts replies out of order.
	Delay, Jitter time.Duration
	// Hold keeps replies until so many wait, and then sends them in a random
	// order; Release sends those that wait earlier. Delay and Jitter do not
	// apply to them.
	Hold int
	// Duplicate sends the reply so many times more.
	Duplicate int
}

// EventError is the error of a reply, as {"type","message"}.
type EventError struct {
	Code, Message string
	WithCode      bool // {"code","message"}
	AsText        bool // "code: message"
	// InPayload puts it into the payload instead of the envelope.
	InPayload bool
}

// document is the JSON form of the error.
func (e *EventError) document(suffix string) any {
	message := e.Message + suffix
	switch {
	case e.AsText:
		return e.Code + ": " + message
	case e.WithCode:
		return map[string]string{"code": e.Code, "message": message}
	default:
		return map[string]string{"type": e.Code, "message": message}
	}
}

// strikes says whether b applies to req, and counts it when it does.
func (b *Behaviour) strikes(req Request, d dice) bool {
	switch {
	case len(b.Names) > 0 && !slices.Contains(b.Names, req.Name),
		len(b.Accounts) > 0 && !slices.Contains(b.Accounts, req.Account),
		b.Times > 0 && b.struck >= b.Times,
		!d.strikes(true, b.Rate):
		return false
	}
	b.struck++
	return true
}
