package app

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/maypok86/otter/v2"

	"github.com/busdk/bus-api-provider-vm/backend"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/store"
)

const (
	rememberedReplies = 4096            // the most replies to others that are known to have come before
	queuedReplies     = 256             // the most of them that are still to be looked up
	recordedWithin    = 2 * time.Second // how much later than its acceptance an operation is accepted on record
	watchedFor        = time.Hour       // how long after its acceptance a start counts as under way
	noteAgain         = time.Second     // when a state that was reached is recorded after a failure
)

var (
	// startBuckets reach from a machine that is there to one that takes half an hour.
	startBuckets = []float64{.1, .5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 1800}
	// errorBuckets are shares of the time that a start took.
	errorBuckets = []float64{.05, .1, .2, .3, .5, .75, 1, 2, 5}
	// knownStates have a time series of their own, all others are otherState.
	knownStates = []string{"ready", "starting", "stopping", "stopped", "unavailable", "failed", "error"}
)

const otherState = "other"

// waiting follows accepted operations: it knows which are superseded, records target
// states that are reached, and measures starts.
type waiting struct {
	operations *store.Store
	runtime    backend.Backend
	answered   *otter.Cache[string, struct{}] // replies to others, by correlation id
	replies    chan overheard                 // are to be looked up
	took, miss *metrics.PrometheusHistogram

	accepted chan struct{} // one slot: something is pending

	mu sync.Mutex
	// One of an action may have been accepted that has not reached its state: a status
	// that is asked for after that time tells.
	pending map[lifecycle.Action]time.Time
	foreign map[lifecycle.Action]time.Time // when the last reply came to one that is not in the store
	began   time.Time                      // when the start under way was accepted, zero for none
	usual   time.Duration                  // how long it is expected to take, 0 if that is not known
	// The store last took an acceptance then, perhaps long after its reply.
	recorded time.Time
}

// overheard is the first reply to another requester, or to another replica.
type overheard struct {
	id     string
	action lifecycle.Action
	at     time.Time
}

func newWaiting(set *metrics.Set) *waiting {
	w := &waiting{
		answered: otter.Must(&otter.Options[string, struct{}]{MaximumSize: rememberedReplies}),
		replies:  make(chan overheard, queuedReplies),
		took:     set.NewPrometheusHistogramExt("bus_vm_start_duration_seconds", startBuckets),
		miss:     set.NewPrometheusHistogramExt("bus_vm_start_estimate_error_ratio", errorBuckets),
		foreign:  map[lifecycle.Action]time.Time{},
		accepted: make(chan struct{}, 1),
		pending:  map[lifecycle.Action]time.Time{lifecycle.Start: {}, lifecycle.Stop: {}}, // by a process before this one
	}
	set.NewGauge("bus_vm_start_under_way_seconds", w.underWay)
	for _, state := range append(knownStates, otherState) {
		set.NewGauge(`bus_vm_runtime_state{state="`+state+`"}`, func() float64 { return w.isIn(state) })
	}
	return w
}

// isIn is 1 if that is the state that was seen last.
func (w *waiting) isIn(state string) float64 {
	seen := w.runtime.Latest().Seen
	if seen != nil && (seen.State == state || state == otherState && !slices.Contains(knownStates, seen.State)) {
		return 1
	}
	return 0
}

// underWay is the time since the acceptance of a start that has not led to ready, in
// seconds; 0 for none.
func (w *waiting) underWay() float64 {
	seen := w.runtime.Latest().Seen
	w.mu.Lock()
	defer w.mu.Unlock()
	age := time.Since(w.began)
	if w.began.IsZero() || age > watchedFor || seen != nil && seen.State == lifecycle.Start.Target() && seen.AskedAt.After(w.began) {
		return 0
	}
	return age.Seconds()
}

// changed is store.Config.Changed.
func (w *waiting) changed(r lifecycle.Receipt, elsewhere bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Action == lifecycle.Stop && r.Outcome == lifecycle.Accepted {
		w.began = time.Time{}
	}
	switch {
	case !r.ReachedAt.IsZero() && r.Action == lifecycle.Start:
		w.began = time.Time{}
		if !elsewhere && r.Leader == "" { // once for all that joined it
			took := r.ReachedAt.Sub(r.AcceptedAt).Seconds()
			w.took.Update(took)
			if w.usual > 0 && took > 0 {
				w.miss.Update(math.Abs(took-w.usual.Seconds()) / took)
			}
		}
		return
	case !r.ReachedAt.IsZero(), r.Outcome != lifecycle.Accepted:
		return
	}
	if elsewhere && r.Leader == "" {
		w.runtime.AcceptedAt(r.AcceptedAt) // the reply may not have come here yet
	}
	w.recorded = time.Now()
	if _, pending := w.pending[r.Action]; !pending {
		w.pending[r.Action] = w.runtime.Latest().Since
	}
	select {
	case w.accepted <- struct{}{}:
	default:
	}
	if r.Action == lifecycle.Start && w.began.IsZero() {
		w.began, w.usual = time.Now(), w.operations.Estimate(r).P50
	}
}

// left is routes.Wait.Estimate.
func (w *waiting) left() (left time.Duration, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.usual - time.Since(w.began), w.usual > 0 && !w.began.IsZero()
}

// superseded is routes.Wait.Superseded.
func (w *waiting) superseded(r lifecycle.Receipt, since time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.operations.Superseded(r) || w.foreign[r.Action.Opposite()].After(since)
}

// reply is backend.EventsConfig.Overheard. Only the first reply to a request counts; those
// of the operations in the store come to changed.
func (w *waiting) reply(id string, action lifecycle.Action) {
	if _, first := w.answered.SetIfAbsent(id, struct{}{}); !first {
		return
	}
	select {
	case w.replies <- overheard{id, action, time.Now()}:
	default: // the store hangs; waits end by the state
	}
}

// look notes a reply to an operation that is not in the store.
func (w *waiting) look(ctx context.Context, reply overheard) {
	if known, err := w.operations.Receipt(ctx, reply.id); err == nil && known.ID == "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.foreign[reply.action] = reply.at
		if reply.action == lifecycle.Stop {
			w.began = time.Time{}
			w.operations.Stopped(reply.at)
		}
	}
}

// run records the target states that are reached, which frees the start slot, and looks
// up the operations of replies to other requesters, until ctx ends.
func (w *waiting) run(ctx context.Context) error {
	for {
		changed := w.runtime.Latest().Changed
		var again <-chan time.Time
		if !w.note(ctx) {
			again = time.After(noteAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		case <-w.accepted:
		case reply := <-w.replies:
			w.look(ctx, reply)
		}
	}
}

// note records that a target state was seen, if an operation may be waiting for it, and
// reports whether the store took it: there may be no further status.
func (w *waiting) note(ctx context.Context) (noted bool) {
	noted = true
	for _, action := range []lifecycle.Action{lifecycle.Start, lifecycle.Stop} {
		w.mu.Lock()
		latest := w.runtime.Latest() // of after what is pending
		seen := latest.Seen
		since, pending := w.pending[action]
		reached := pending && seen != nil && seen.State == action.Target() && seen.AskedAt.After(since)
		var until time.Time // what was recorded as accepted by then was accepted before it was asked for
		if reached {
			delete(w.pending, action)
			until = seen.AskedAt.Add(recordedWithin)
			if w.recorded.After(seen.AskedAt) {
				until = w.recorded.Add(recordedWithin)
			}
			if !seen.AskedAt.After(latest.Since) { // it does not tell of what was accepted meanwhile
				w.pending[action] = latest.Since
				until = seen.AskedAt.Add(-recordedWithin)
			}
		}
		w.mu.Unlock()
		if reached && w.operations.Reached(ctx, action, seen.Provider, max(0, time.Since(until))) != nil {
			w.mu.Lock()
			w.pending[action], noted = since, false
			w.mu.Unlock()
		}
	}
	return noted
}
