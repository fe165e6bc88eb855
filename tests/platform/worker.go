package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	reconnectFirst = 10 * time.Millisecond
	reconnectMost  = 250 * time.Millisecond
	// replyAttempt bounds one publish of a reply, replyPatience all of them.
	replyAttempt  = 10 * time.Second
	replyPatience = 30 * time.Second
)

// Request is one delivery of a request to a worker.
type Request struct {
	EventID       string // the same when one event is delivered twice
	Name          string
	CorrelationID string
	Account       string // account_id of the payload
	RequestID     string // request_id of the payload
	Payload       json.RawMessage
}

// Worker is what the VM, billing and usage workers have in common: a unicast
// stream for each request name, which it opens again for as long as it runs,
// behaviours, and a memory of what it was asked. Its methods are safe for
// concurrent use.
type Worker struct {
	label  string
	names  []string
	echoAs string // the payload member that Echo fills
	client *Client
	log    *slog.Logger
	// handle carries a request out and returns the reply's payload.
	handle func(Request) (map[string]any, *EventError)

	changed signal // asked or state behind handle changed

	mu       sync.Mutex
	dice     dice
	conducts []Behaviour
	asked    []Request
	held     []func(context.Context) // send the replies that Hold keeps
	breaches []string
	running  context.Context // nil when closed
	stop     context.CancelFunc
	// tasks grows only while running is set, under mu; the listeners keep it
	// above zero until stop.
	tasks sync.WaitGroup
}

func newWorker(e *Events, label, scope string, names ...string) *Worker {
	w := &Worker{
		label:  label,
		names:  names,
		echoAs: "details",
		client: NewClient(e.URL(), Token(e.cfg.Secret, Claims{Scope: scope, TTL: serviceTokenTTL})),
		log:    e.cfg.Logger,
		dice:   newDice(e.cfg.Seed, label, 0),
	}
	if e.tls != nil {
		w.client.trust(e.roots)
	}
	return w
}

// start begins to listen.
func (w *Worker) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running, w.stop = context.WithCancel(context.Background())
	for _, name := range w.names {
		ctx := w.running
		w.tasks.Go(func() { w.listen(ctx, name) })
	}
}

// close cuts the worker off: replies not sent yet never are.
func (w *Worker) close() {
	w.mu.Lock()
	w.running = nil
	w.mu.Unlock()
	w.stop()
	w.tasks.Wait()
	w.client.Close()
}

// SetBehaviour replaces the behaviours; the first of them that strikes a
// request counts for it. Without any, the worker is well. Replies that Hold
// keeps are released.
func (w *Worker) SetBehaviour(behaviours ...Behaviour) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conducts = slices.Clone(behaviours)
	w.release()
}

// Release sends the replies that Hold keeps, in a random order.
func (w *Worker) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release()
}

// release does what Release says. w.mu is held.
func (w *Worker) release() {
	ready := w.held
	w.held = nil
	w.dice.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	// One after the other, so that the seed alone makes the order.
	w.begin(func(ctx context.Context) {
		for _, send := range ready {
			send(ctx)
		}
	})
}

// begin runs task in the background while the worker runs. w.mu is held.
func (w *Worker) begin(task func(context.Context)) {
	if ctx := w.running; ctx != nil {
		w.tasks.Go(func() { task(ctx) })
	}
}

// Asked returns the requests with this name as delivered, duplicates included.
func (w *Worker) Asked(name string) []Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.asked), func(req Request) bool { return req.Name != name })
}

// WaitAsked waits until n requests of name have been delivered in all.
func (w *Worker) WaitAsked(ctx context.Context, name string, n int) error {
	return w.changed.wait(ctx, func() bool { return len(w.Asked(name)) >= n })
}

// violations returns what the worker saw that the contract forbids.
func (w *Worker) violations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.breaches)
}

// violate remembers a breach of the contract by the sender of req.
func (w *Worker) violate(req Request, format string, args ...any) {
	text := fmt.Sprintf("%s %s: %s", req.Name, short(req.CorrelationID), fmt.Sprintf(format, args...))
	w.log.Warn(w.label+" worker: contract broken", "violation", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breaches = append(w.breaches, text)
}

// listen keeps a stream of name open until ctx ends.
func (w *Worker) listen(ctx context.Context, name string) {
	wait := reconnectFirst
	for ctx.Err() == nil {
		err := w.client.listen(ctx, name, w.label, func(ev wire) {
			wait = reconnectFirst
			w.receive(ev)
		})
		if !rest(ctx, wait) {
			return
		}
		w.log.Debug(w.label+" worker: stream ended, opening it again", "name", name, "error", err)
		wait = min(2*wait, reconnectMost)
	}
}

// rest waits for d; false means that ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

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
