package events

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// proofWait is how long a request still waits for its reply once the answer to
// its publish has left the outcome unknown.
const proofWait = 2 * time.Second

// Request is one event to publish, and how to read the reply to it. Its JSON is
// that of the event.
type Request struct {
	Name string `json:"name"` // ReplyName of it is one of Config.Replies
	// CorrelationID is unique among the requests of this name that wait.
	CorrelationID string `json:"correlationId"`
	Payload       any    `json:"payload"` // as encoding/json takes it
	// Lifecycle marks a request that must not be carried out twice: it is published
	// once, on a connection of its own. Any other may be published again.
	Lifecycle bool `json:"-"`
	// Permit, when set, is asked last before the event is sent, when there is a
	// connection: after its error the event is not sent.
	Permit func() error `json:"-"`
	// Decode reads the reply, once at most and before Do returns. The stream waits
	// for it, so it must return soon.
	Decode func(Envelope) error `json:"-"`
}

// Do publishes r and returns what r.Decode said of the reply. It waits until ctx
// ends, and for Config.Timeout at most. Its other errors wrap ErrNotSent or
// ErrNoReply. A lifecycle request is published twice only after a refused token
// was replaced.
func (c *Client) Do(ctx context.Context, r Request) error {
	request, s := &call{Request: r}, c.streams[ReplyName(r.Name)]
	if s == nil || r.CorrelationID == "" {
		return fmt.Errorf("BUG: %s needs a reply stream and a correlation id", r.Name)
	}
	var err error
	if request.body, err = json.Marshal(r); err != nil {
		return fmt.Errorf("BUG: the payload of %s: %w", r.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	request.deadline, _ = ctx.Deadline()
	defer context.AfterFunc(c.running, cancel)()
	if err := c.Connected(ctx, s.reply); err != nil {
		return err
	}
	request.began = time.Now()
	if !s.pending.add(request) {
		return fmt.Errorf("BUG: a request with correlation id %q waits already", r.CorrelationID)
	}
	return c.exchange(ctx, request, s)
}

// exchange publishes request and waits for the reply, which comes on s, at the
// same time: the reply may overtake the answer to the publish.
func (c *Client) exchange(ctx context.Context, request *call, s *stream) error {
	c.inFlight.Inc()
	defer c.inFlight.Dec()
	published, stopPublish := c.publish(request, s.pending)
	var cause error
	select {
	case err := <-request.done:
		c.publishes["accepted"].Inc() // the reply proves it
		if request.Lifecycle {
			stopPublish()
		}
		return err
	case cause = <-published:
	case <-ctx.Done():
		stopPublish()
		cause = <-published // soon
	}
	result, wait := "unknown", proofWait
	_, refused := errors.AsType[*RefusedError](cause)
	switch {
	case cause == nil:
		result, wait = "accepted", math.MaxInt64
	case refused:
		result, wait = "refused", 0
	case errors.Is(cause, ErrNotSent):
		result, wait = "not_sent", 0
	}
	c.publishes[result].Inc()
	select {
	case err := <-request.done:
		return err
	case <-ctx.Done():
	case <-time.After(wait):
	}
	switch {
	case !s.pending.giveUp(request):
		return <-request.done // of a refusal, the reply proves it wrong
	case wait == 0:
		return cause
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.suspect(request.began)
	}
	if cause != nil {
		return fmt.Errorf("%w to %s: %w: %w", ErrNoReply, request.Name, ErrUnconfirmed, cause)
	}
	return fmt.Errorf("%w to %s", ErrNoReply, request.Name)
}

// What Do returns, to be told apart with errors.Is; a *RemoteError, with
// errors.As.
var (
	// ErrNotSent: there was no reply stream, no connection, no token or no time left,
	// or the Events API refused the event (see RefusedError). Nothing was carried out.
	ErrNotSent = errors.New("the event could not be sent")
	// ErrNoReply: the event was published, or may have been, and no reply came
	// in time. The request may have been carried out, or may still be.
	ErrNoReply = errors.New("no reply came")
	// ErrUnconfirmed: it is not even known whether the Events API took the event.
	ErrUnconfirmed = errors.New("the Events API did not confirm the event")
	// ErrMalformed: a reply's payload is not what it should be (see
	// Envelope.Fields). The request may have been carried out.
	ErrMalformed = errors.New("the reply is malformed")
)

// ErrTokenRefused: the Events API refused a token that will not change, so Run ends.
var ErrTokenRefused = errors.New("the Events API refused the token")

// RefusedError is an ErrNotSent: the Events API answered with a refusal. A Status of
// 2xx means that it answered `"accepted":false`.
type RefusedError struct {
	Event  string
	Status int

	answer string        // the status and the API's own text, cleaned as in RemoteError
	token  secret.String // what was used
}

// newRefusal reads the event error in the body of a refusal, if there is one.
func newRefusal(event string, status int, body []byte, token secret.String) *RefusedError {
	e := &RefusedError{Event: event, Status: status, token: token, answer: fmt.Sprintf("%d %s", status, http.StatusText(status))}
	fields, _ := ReadFields(body)
	if failure := remoteError(fields["error"]); failure != nil {
		e.answer += " (" + failure.Error() + ")"
	}
	return e
}

func (e *RefusedError) Error() string {
	return "the Events API refused " + e.Event + " with " + e.answer
}

func (e *RefusedError) Is(target error) bool { return target == ErrNotSent }

// tokenRefused deals with err if it is a refusal of the token. It reports
// whether there is another token now, so that err may be a thing of the past. If
// there never will be, it makes Run end, with one line for the operator.
func (c *Client) tokenRefused(err error) (changed bool) {
	refusal, ok := errors.AsType[*RefusedError](err)
	if !ok || refusal.Status != http.StatusUnauthorized && refusal.Status != http.StatusForbidden {
		return false
	}
	changed, final := c.config.Token.Refused(refusal.token)
	if final != nil {
		doing := "publishing"
		if c.streams[refusal.Event] != nil {
			doing = "listening to"
		}
		c.end(fmt.Errorf("%w in BUS_API_TOKEN: %s %s was answered %s; it needs the scope %q, and all that is enabled needs %q; "+
			"put a valid token there, or use --token-file to replace it while running",
			final, doing, refusal.Event, refusal.answer,
			strings.Join(ScopesFor(refusal.Event), " "), strings.Join(ScopesFor(c.config.Replies...), " ")))
	}
	return changed
}

// remembered is how many requests of a stream that do not wait any more are at
// least known, to tell what their further replies are.
const remembered = 4096

// What a reply is to this process, as a label of metrics.
const (
	matched   = "matched"   // its request is waited for
	late      = "late"      // its request was given up
	duplicate = "duplicate" // its request was answered already
	unmatched = "unmatched" // another requester's, or forgotten
	history   = "history"   // like unmatched, in a replay
)

// pending holds the requests of one reply stream by correlation id.
type pending struct {
	mu      sync.Mutex // held while a reply is decoded
	waiting map[string]*call
	// What further replies to those that do not wait any more are: of the last
	// `remembered` ones at least, and of twice as many at most.
	past, older map[string]fate
}

// fate is what a reply is, and whether it may tell others more than the request
// of this process knows: none waits for it, or it comes after a refusal.
type fate struct {
	kind    string
	observe bool
}

// call is a request that is under way.
type call struct {
	Request
	body     []byte
	began    time.Time
	deadline time.Time  // of the caller
	done     chan error // from Decode; one slot: the stream never blocks
}

// add enters c; false means that a request with its id waits already. An
// earlier one that does not wait any more is forgotten: replies are c's.
func (p *pending) add(c *call) bool {
	c.done = make(chan error, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.CorrelationID] != nil {
		return false
	}
	p.waiting[c.CorrelationID] = c
	delete(p.past, c.CorrelationID)
	delete(p.older, c.CorrelationID)
	return true
}

// giveUp takes c out; false means that its reply came first and is in c.done.
func (p *pending) giveUp(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[c.CorrelationID] != c {
		return false
	}
	delete(p.waiting, c.CorrelationID)
	p.remember(c.CorrelationID, fate{late, true})
	return true
}

// waits reports whether c still waits for its reply.
func (p *pending) waits(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting[c.CorrelationID] == c
}

// deliver gives e to the request that waits for it and says what e is. A malformed
// reply settles nothing for good: its request is given up with it.
func (p *pending) deliver(e Envelope) fate {
	id := e.CorrelationID
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.waiting[id]; c != nil {
		err := c.Decode(e)
		delete(p.waiting, id)
		further := fate{duplicate, err != nil}
		if errors.Is(err, ErrMalformed) {
			further.kind = late
		}
		p.remember(id, further)
		c.done <- err
		return fate{matched, false}
	}
	other := fate{unmatched, true}
	if e.Replayed {
		other.kind = history
	}
	return cmp.Or(p.past[id], p.older[id], other)
}

// remember holds mu.
func (p *pending) remember(id string, further fate) {
	if len(p.past) >= remembered || p.past == nil {
		p.past, p.older = make(map[string]fate), p.past
	}
	p.past[id] = further
}

// wanted returns the requests from before mark that wait for their reply.
func (p *pending) wanted(mark time.Time) (calls []*call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.waiting {
		if c.began.Before(mark) {
			calls = append(calls, c)
		}
	}
	return calls
}
