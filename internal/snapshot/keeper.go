package snapshot

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Config configures a Keeper. Fetch is required.
type Config struct {
	// Fetch asks the runtime for its status. What it returns was observed
	// after the call began. Its errors are shown to readers as they are.
	Fetch func(ctx context.Context) (Status, error)
	// MaxAge is how old a shown status may be, counted from when it was asked
	// for; default 10 s.
	MaxAge time.Duration
	// Refresh and RefreshMoving are how long after it was asked for a status
	// that is read is asked for again, at rest (default 2 s) and while the
	// state moves (default 500 ms).
	Refresh, RefreshMoving time.Duration
	// Timeout bounds how long a reader waits when there is nothing to show;
	// default 30 s.
	Timeout time.Duration
	// Metrics gets the counters of the snapshot; nil for none.
	Metrics *metrics.Set
}

// The defaults of Config.
const (
	defaultMaxAge        = 10 * time.Second
	defaultRefresh       = 2 * time.Second
	defaultRefreshMoving = 500 * time.Millisecond
	defaultTimeout       = 30 * time.Second
)

// patience is how long a reader waits for a refresh before it takes a status
// that is older than a refresh, but not older than the maximum age.
const patience = time.Second

// failureHold is how long a failed refresh answers the readers who come after
// it, so that they do not turn into a storm of requests to a sick backend.
const failureHold = 250 * time.Millisecond

// Keeper keeps one snapshot: it is shown as pre-rendered bytes, asked for
// again in the background only while somebody reads it, and dropped whenever a
// write is accepted.
//
// A status is shown only if it was asked for after the last accepted write
// that this process knows of. That is the whole of its correctness: every
// result is compared with the epoch in which its request began.
type Keeper struct {
	config  Config
	current atomic.Pointer[shown] // nil: readers wait
	wake    chan struct{}         // one slot: something changed for Run
	metrics keeperMetrics

	mu        sync.Mutex
	epoch     uint64             // counts accepted writes
	lastWrite time.Time          // when the latest of them became known; at first, when this Keeper was made
	changed   chan struct{}      // closed and replaced when waiters should look again
	waiting   int                // readers without anything to show
	lapsed    *shown             // off display because nobody read it; still young enough to fall back on
	failure   error              // why the last refresh failed, while that still counts
	failedAt  time.Time          // when one last failed
	cancel    context.CancelFunc // ends the refresh under way; nil without one
	ended     bool               // Run has returned, and nothing new comes
}

// shown is a status on display. Only its read flag changes.
type shown struct {
	document []byte
	askedAt  time.Time
	refresh  time.Duration
	timer    *time.Timer // ends its display; see Keeper.end
	read     atomic.Bool
}

// New returns a Keeper; it shows nothing before Run.
func New(config Config) *Keeper {
	setDefault(&config.MaxAge, defaultMaxAge)
	setDefault(&config.Refresh, defaultRefresh)
	setDefault(&config.RefreshMoving, defaultRefreshMoving)
	setDefault(&config.Timeout, defaultTimeout)
	k := &Keeper{
		config:  config,
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		// Of a write that an earlier process or a replica made before, nobody
		// here would have heard.
		lastWrite: time.Now(),
	}
	k.metrics = newMetrics(config.Metrics, k)
	return k
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Read returns the document on display; it must not be changed. Without one it
// waits for the refresh that all waiting readers share. Its errors are Fetch's,
// those of ctx, or context.Canceled once Run has returned.
func (k *Keeper) Read(ctx context.Context) ([]byte, error) {
	s := k.current.Load()
	if s == nil {
		return k.wait(ctx)
	}
	// The first reader of a status asks for the next one.
	if !s.read.Load() && s.read.CompareAndSwap(false, true) {
		k.signal()
	}
	return s.document, nil
}

// wait blocks until there is something to show. When the shared refresh fails,
// or takes longer than patience, a lapsed status will do.
func (k *Keeper) wait(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
	defer cancel()
	impatient := time.NewTimer(patience)
	defer impatient.Stop()

	k.mu.Lock()
	if time.Since(k.failedAt) >= failureHold {
		k.failure = nil
	}
	k.waiting++
	defer func() { k.waiting--; k.mu.Unlock() }()
	k.signal()
	for settle := false; ; {
		err := k.failure
		switch {
		case err != nil:
		case k.ended:
			err = context.Canceled
		default:
			err = ctx.Err()
		}
		if s := k.answer(settle || err != nil); s != nil {
			return s.document, nil
		}
		if err != nil {
			return nil, err
		}
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-impatient.C:
			settle = true
		}
		k.mu.Lock()
	}
}

// answer is what can be shown: a lapsed status only if settle says so. The
// caller holds mu.
func (k *Keeper) answer(settle bool) *shown {
	if s := k.current.Load(); s != nil {
		return s
	}
	if settle && k.lapsed != nil && time.Since(k.lapsed.askedAt) < k.config.MaxAge {
		return k.lapsed
	}
	return nil
}

// Invalidate takes down whatever was asked for before now: a write was
// accepted, or may have been. When it returns, no Read shows it any more.
func (k *Keeper) Invalidate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epoch++
	k.lastWrite = time.Now()
	k.takeDown()
	k.lapsed, k.failure = nil, nil
	if k.cancel != nil {
		k.cancel() // its answer would be dropped; waiting readers need a new one
	}
	k.metrics.invalidations.Inc()
	k.signal()
}

// signal wakes Run; signals that come together count as one.
func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// announce makes all waiters look again. The caller holds mu.
func (k *Keeper) announce() {
	close(k.changed)
	k.changed = make(chan struct{})
}
