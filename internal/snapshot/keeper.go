// Package snapshot keeps the latest known status of the runtime as the bytes
// that answer a read.
package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Status is what a caller may see of the runtime.
type Status struct {
	State    string          `json:"state"`             // shown as it is
	Provider string          `json:"provider"`          // what runs the runtime, for example static or upcloud
	Details  json.RawMessage `json:"details,omitempty"` // a JSON object, or nil for none
}

// moving are the states that are on their way to another one.
var moving = map[string]bool{
	"starting": true, "stopping": true, "restarting": true, "rebooting": true, "provisioning": true,
	"pending": true, "resuming": true, "suspending": true, "maintenance": true,
}

// Seen is a status as the runtime reported it. It is shared, and must not be changed.
type Seen struct {
	Document        []byte // {"status":{"state","provider","details"?}}, compact
	ETag            []byte // the strong entity tag of Document (RFC 9110 §8.8.3), with its quotes
	State, Provider string
	AskedAt         time.Time // it is no older than that
	// Moving says that State is on its way to another one. Settled is false as well
	// while a write that is known to be accepted has not reached its target.
	Moving, Settled bool
}

// News is what followers have. It is shared, and must not be changed.
type News struct {
	Seen *Seen // nil: a write was accepted after it was asked for
	// Since is when a write was last known to be accepted: who begins to follow needs a
	// status that is asked for after it.
	Since   time.Time
	Changed <-chan struct{} // closed when the next status is seen, which may say the same
}

// See renders s, which was asked for at that time.
func (s Status) See(askedAt time.Time) (*Seen, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(map[string]Status{"status": s})
	document := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	sum := sha256.Sum256(document)
	tag := append([]byte{'"'}, base64.RawURLEncoding.EncodeToString(sum[:tagBytes])...)
	return &Seen{
		Document: document, ETag: append(tag, '"'), State: s.State, Provider: s.Provider,
		AskedAt: askedAt, Moving: moving[s.State], Settled: !moving[s.State],
	}, err
}

// tagBytes of a digest identify a document, on all replicas alike.
const tagBytes = 12

// Config configures a Keeper. All of it is required.
type Config struct {
	// Fetch asks the runtime for its status. What it returns was observed
	// after the call began. Its errors are shown to readers as they are.
	Fetch  func(ctx context.Context) (Status, error)
	MaxAge time.Duration // of a status that is shown, from when it was asked for
	// Refresh and RefreshMoving are how long after it was asked for a status
	// that is read is asked for again, at rest and while the state moves.
	Refresh, RefreshMoving time.Duration
	Timeout                time.Duration // of a reader's wait when there is nothing to show
	Streams                int           // that bring accepted writes, all lost at first; see Keeper.Stream
	Metrics                *metrics.Set  // gets bus_vm_snapshot_…
}

const (
	// refreshWait is how long a reader waits for a refresh before it takes a
	// status that is older than a refresh, but not older than the maximum age.
	refreshWait = time.Second
	// failureHold is how long a failed refresh answers the readers who come
	// after it, so that they do not flood a failing backend.
	failureHold = 250 * time.Millisecond
	// clocksApart is how far the clocks of machines may differ.
	clocksApart = 2 * time.Second
)

// Keeper keeps one snapshot as pre-rendered bytes. It asks for the status in the
// background while it is read, one request at a time.
//
// Requests are numbered: an accepted write raises floor above every request
// begun before it, a reader notes when it begins which request it needs at
// least, and gets the answer to that one or to a later one. Later writes do not
// change what it needs. To followers the same applies: after a write they need a later
// request, and other writes do not change that until they have its answer.
type Keeper struct {
	config  Config
	current atomic.Pointer[shown] // nil: readers wait
	latest  atomic.Pointer[News]
	follows atomic.Int32  // followers, who count as readers
	wake    chan struct{} // one slot: something changed for Run

	refreshed, failed, overtaken, invalidations *metrics.Counter

	mu       sync.Mutex
	asked    uint64    // requests begun
	began    time.Time // of the latest of them
	last     answer    // to the latest request that has ended
	floor    uint64    // the lowest request whose answer may be shown
	since    time.Time // when it became that; later requests are asked for after it
	follow   uint64    // the lowest request whose answer followers may have
	told     uint64    // the latest request whose answer they have
	wanted   uint64    // the latest request that a reader needs
	lost     int       // streams of accepted writes that are not open
	watching watch
	heard    time.Time // the latest of AcceptedAt
	changed  chan struct{}
}

// shown is a status on display. Of it only read changes, and refresh, which mu guards.
type shown struct {
	*Seen
	fresh   time.Duration // age to which it is shown although it was not read before
	refresh time.Duration
	read    atomic.Bool
}

// answer is how a request ended.
type answer struct {
	number uint64
	seen   *Seen
	err    error
	from   time.Time // when it was asked for, or, after a failure, when it ended
}

// New returns a Keeper; it shows nothing before Run.
func New(config Config) *Keeper {
	refreshes := func(result string) *metrics.Counter {
		return config.Metrics.NewCounter(`bus_vm_snapshot_refreshes_total{result="` + result + `"}`)
	}
	k := &Keeper{
		config:        config,
		wake:          make(chan struct{}, 1),
		lost:          config.Streams,
		refreshed:     refreshes("ok"),
		failed:        refreshes("failed"),
		overtaken:     refreshes("overtaken"),
		invalidations: config.Metrics.NewCounter("bus_vm_snapshot_invalidations_total"),
	}
	k.changed = make(chan struct{})
	k.latest.Store(&News{Changed: k.changed})
	// The age is read when it is scraped; nothing on display has none.
	config.Metrics.NewGauge("bus_vm_snapshot_age_seconds", func() float64 {
		if s := k.current.Load(); s != nil {
			return since(s.AskedAt).Seconds()
		}
		return 0
	})
	return k
}

// since is how long t is past by the monotonic and by the wall clock, whichever
// says longer: Linux's monotonic clock stands still while a machine is suspended.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// Read returns the status on display. Without one it waits for the request that
// all waiting readers share. Its errors are Fetch's, those of ctx, or
// context.Canceled once Run has returned.
func (k *Keeper) Read(ctx context.Context) (*Seen, error) {
	s := k.current.Load()
	if s == nil {
		return k.wait(ctx)
	}
	age, read := since(s.AskedAt), s.read.Load()
	if age >= k.config.MaxAge || !read && age >= s.fresh {
		return k.wait(ctx)
	}
	if !read && s.read.CompareAndSwap(false, true) {
		k.signal() // the first reader of a status asks for the next one
	}
	return s.Seen, nil
}

// Latest is that of backend.Backend. It asks for nothing: that takes a Read, or a Follow.
func (k *Keeper) Latest() *News { return k.latest.Load() }

// Follow is that of backend.Backend.
func (k *Keeper) Follow() (release func()) {
	k.follows.Add(1)
	k.signal()
	return func() { k.follows.Add(-1) }
}

// wait blocks until the request that the reader needs has ended. If that fails,
// or takes longer than refreshWait, an older status will do.
func (k *Keeper) wait(ctx context.Context) (*Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
	defer cancel()
	enough := time.NewTimer(refreshWait)
	defer enough.Stop()

	k.mu.Lock()
	defer k.mu.Unlock()
	need := k.need()
	k.wanted = max(k.wanted, need)
	k.signal()
	for older := false; ; {
		err := ctx.Err()
		if k.last.number >= need {
			if err = k.last.err; err == nil {
				return k.last.seen, nil
			}
		}
		if s := k.current.Load(); s != nil && (older || err != nil) && since(s.AskedAt) < k.config.MaxAge {
			return s.Seen, nil
		}
		if err != nil {
			return nil, err
		}
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-enough.C:
			older = true
		}
		k.mu.Lock()
	}
}

// need is the request that a reader who begins now needs: the one in flight,
// unless a write was accepted since it began or may have been, or it is too old.
// For a moment a failed one will do. The caller holds mu.
func (k *Keeper) need() uint64 {
	switch {
	case k.last.err != nil && k.last.number >= k.floor && since(k.last.from) < failureHold:
		return k.last.number
	case k.asked > k.last.number && k.asked >= k.floor && k.lost == 0 && since(k.began) < k.config.MaxAge:
		return k.asked
	}
	return k.asked + 1
}

// Invalidate drops whatever was asked for before now: a write may have been
// accepted. When it returns, no Read that begins shows it any more.
func (k *Keeper) Invalidate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.invalidate()
}

// Accepted is Invalidate for a write that was accepted, which leads to state.
// After one of this process's own, the status is watched, as if it were read, until
// it gets there, a write to another state is accepted, or watchFor has passed.
func (k *Keeper) Accepted(state string, own bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.invalidate()
	if own || state != k.watching.state {
		k.watching = watch{state: state, own: own, since: time.Now()}
	}
}

// AcceptedAt is Invalidate for a write that was accepted at that time by the clock of
// another machine, unless what was asked for since is all that there is. It does nothing
// for one that it has heard of, or that was accepted before one that it has.
func (k *Keeper) AcceptedAt(at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !at.After(k.heard) {
		return
	}
	k.heard, at = at, at.Add(clocksApart)
	if seen := k.latest.Load().Seen; k.began.Before(at) || seen != nil && seen.AskedAt.Before(at) {
		k.invalidate()
	}
}

// invalidate holds mu.
func (k *Keeper) invalidate() {
	k.floor, k.since = k.asked+1, time.Now()
	k.current.Store(nil)
	seen := k.latest.Load().Seen
	if k.follow <= k.told {
		k.follow, seen = k.floor, nil
	}
	k.latest.Store(&News{seen, k.since, k.changed})
	k.invalidations.Inc()
	k.signal()
}

// Stream says that one of Config.Streams has opened, or is lost. While one is
// lost, writes of others may be accepted unseen: a read needs a status asked for
// after the read began.
func (k *Keeper) Stream(open bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if open {
		k.lost--
	} else {
		k.lost++
	}
	k.invalidate()
}

// Hint says that another requester was sent state. It is not shown, since
// nothing says when it was observed, but if it is another one the next refresh
// is due as while the state moves.
func (k *Keeper) Hint(state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.current.Load(); s != nil && s.State != state {
		s.refresh = min(s.refresh, k.config.RefreshMoving)
		k.signal()
	}
}

// signal wakes Run; signals that come together count as one.
func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}
