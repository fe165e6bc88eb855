package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	workerPublishers = 32
	requestLogLimit  = 1 << 17
	reconnectFirst   = 10 * time.Millisecond
	reconnectMost    = 250 * time.Millisecond
	// replyAttempt bounds one publish of a reply, replyPatience all of them.
	replyAttempt  = 10 * time.Second
	replyPatience = 30 * time.Second
)

// WorkerConfig is what every worker needs.
type WorkerConfig struct {
	// URL is the root of the Events API.
	URL string
	// Roots is the PEM text to trust for https; empty means the system's.
	Roots []byte
	// Secret signs the worker's own token; empty means DevSecret.
	Secret string
	// Seed is where the dice of behaviours start.
	Seed uint64
	// Logger gets a line for each request; nil means silence.
	Logger *slog.Logger
}

// Request is one delivery of a request to a worker.
type Request struct {
	At            time.Time
	EventID       string // the same when one event is delivered twice
	Name          string
	CorrelationID string
	Account       string // account_id of the payload
	RequestID     string // request_id of the payload
	Payload       json.RawMessage
	// Fate is what the worker did with it.
	Fate Fate
}

// Fate is what became of a request.
type Fate string

// The fates.
const (
	Answered Fate = "answered" // carried out, and answered as far as the API lets it
	Refused  Fate = "refused"  // answered with an event error
	Ignored  Fate = "ignored"  // neither carried out nor answered
	Withheld Fate = "withheld" // carried out, not answered
)

// Worker is what the VM, billing and usage workers have in common: a unicast
// stream for each request name, which it opens again for as long as it runs,
// behaviours, and a memory of what it was asked. Its methods are safe for
// concurrent use, but for Start and Stop, which take turns.
type Worker struct {
	label  string
	names  []string
	echoAs string // the payload member that Echo fills
	client *Client
	log    *slog.Logger
	// handle carries a request out and returns the reply's payload.
	handle func(Request) (map[string]any, *EventError)

	slots   chan struct{} // bounds concurrent publishes
	changed signal        // asked or state behind handle changed

	mu         sync.Mutex
	dice       dice
	conducts   []*conduct
	asked      bounded[Request]
	counts     map[string]int // requests by name
	held       []heldReply
	violations []string
	running    context.Context // nil when stopped
	stop       context.CancelFunc
	// tasks grows only while running is set, under mu; the listeners keep it
	// above zero until stop.
	tasks sync.WaitGroup
}

func newWorker(cfg WorkerConfig, label, scope string, names ...string) *Worker {
	if cfg.Secret == "" {
		cfg.Secret = DevSecret
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	token := Token(cfg.Secret, Claims{Scope: scope, TTL: serviceTokenTTL})
	return &Worker{
		label:  label,
		names:  names,
		echoAs: "details",
		client: NewClient(cfg.URL, token).Trust(cfg.Roots),
		log:    cfg.Logger,
		slots:  make(chan struct{}, workerPublishers),
		dice:   newDice(cfg.Seed, label, 0),
		asked:  bounded[Request]{limit: requestLogLimit},
		counts: map[string]int{},
	}
}

// Start begins to listen. The Events API need not be up.
func (w *Worker) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.running, w.stop = ctx, cancel
	for _, name := range w.names {
		w.tasks.Go(func() { w.listen(ctx, name) })
	}
}

// Stop cuts the worker off, as if it died: replies not sent yet never are.
// What it knows survives, and Start goes on with the requests it missed. The
// API notices a moment later; what it hands out before that is lost, unless
// Events.WaitGone is awaited first.
func (w *Worker) Stop() {
	w.mu.Lock()
	running := w.running != nil
	w.running = nil
	w.mu.Unlock()
	if !running {
		return
	}
	w.stop()
	w.tasks.Wait()
	w.client.Close()
	w.mu.Lock()
	w.held = nil
	w.mu.Unlock()
}

// SetBehaviour replaces the behaviours; the first of them that strikes a
// request counts for it. Without any, the worker is well. Replies that Hold
// keeps are released.
func (w *Worker) SetBehaviour(behaviours ...Behaviour) {
	w.mu.Lock()
	w.conducts = nil
	for _, b := range behaviours {
		w.conducts = append(w.conducts, &conduct{Behaviour: b})
	}
	w.release()
	w.mu.Unlock()
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
		for _, h := range ready {
			w.publish(ctx, h.reply, 1+h.duplicate)
		}
	})
}

// begin runs task in the background while the worker runs. w.mu is held.
func (w *Worker) begin(task func(context.Context)) {
	if ctx := w.running; ctx != nil {
		w.tasks.Go(func() { task(ctx) })
	}
}

// Asked returns the requests with this name as they were delivered, duplicates
// included; an empty name means all. The latest 131072 are kept.
func (w *Worker) Asked(name string) []Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []Request
	for _, req := range w.asked.latest() {
		if name == "" || req.Name == name {
			found = append(found, req)
		}
	}
	return found
}

// Publishes counts, by correlation id, how many different events asked for
// name. An event that was delivered twice counts once.
func (w *Worker) Publishes(name string) map[string]int {
	seen, counts := map[string]bool{}, map[string]int{}
	for _, req := range w.Asked(name) {
		if !seen[req.EventID] {
			seen[req.EventID] = true
			counts[req.CorrelationID]++
		}
	}
	return counts
}

// WaitAsked waits until n requests of name have been delivered in all.
func (w *Worker) WaitAsked(ctx context.Context, name string, n int) error {
	return w.changed.wait(ctx, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.counts[name] >= n
	})
}

// Violations returns what the worker saw that the contract forbids.
func (w *Worker) Violations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.violations...)
}

// violate remembers a breach of the contract by whoever sent req.
func (w *Worker) violate(req Request, format string, args ...any) {
	text := fmt.Sprintf("%s %s: %s", req.Name, short(req.CorrelationID), fmt.Sprintf(format, args...))
	w.log.Warn(w.label+" worker: contract broken", "violation", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, text)
}

// listen keeps a stream of name open until ctx ends.
func (w *Worker) listen(ctx context.Context, name string) {
	wait := reconnectFirst
	for ctx.Err() == nil {
		err := w.client.Listen(ctx, Listen{Name: name, Group: w.label, Replay: true}, func(env Envelope) {
			wait = reconnectFirst
			w.receive(env)
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
