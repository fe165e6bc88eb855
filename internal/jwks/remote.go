package jwks

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/backoff"
)

// RemoteConfig configures NewRemote.
type RemoteConfig struct {
	// URL of the document, accepted by CheckURL.
	URL string
	// Store gets every set that was fetched.
	Store *Store
	// TLS says whom to trust; nil for the roots of the system.
	TLS *tls.Config
	// Logger gets one line when fetching begins to fail and one when it works
	// again; default none.
	Logger *slog.Logger
	// Metrics gets the age of the set and the fetches by result; nil for none.
	Metrics *metrics.Set
}

// Remote fetches a document again and again and keeps the last good set in
// force, for however long fetching fails.
type Remote struct {
	config  RemoteConfig
	url     *url.URL
	client  *http.Client
	timeout time.Duration // of one fetch
	metrics remoteMetrics

	refresh chan struct{} // asked for by an operator
	missed  chan struct{} // asked for by a token

	// Run's own.
	etag     string // of the last good document
	began    time.Time
	failures int // since the last success
}

// NewRemote returns a Remote, or ErrURL.
func NewRemote(config RemoteConfig) (*Remote, error) {
	u, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Remote{
		config:  config,
		url:     u,
		client:  newClient(config.TLS),
		timeout: fetchTimeout,
		refresh: make(chan struct{}, 1),
		missed:  make(chan struct{}, 1),
	}
	r.metrics = newRemoteMetrics(config.Metrics)
	return r, nil
}

// Refresh makes Run fetch now. It does not wait.
func (r *Remote) Refresh() { ask(r.refresh) }

// Missed tells Run that a token names a key that is not in the set, in case its
// issuer has just begun to use a new one. It does not wait, and any client may
// cause it: Run fetches for it once in missedInterval at most.
func (r *Remote) Missed() { ask(r.missed) }

func ask(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // asked already
	}
}

// Run fetches at once and then as long as ctx lasts: when the document says it
// is due, when it is asked to, and after failures with growing pauses. It
// returns nil when ctx ends.
func (r *Remote) Run(ctx context.Context) error {
	defer r.client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.refresh:
		case <-r.missed:
			if soonest := r.began.Add(missedInterval); time.Now().Before(soonest) {
				due = earlier(due, soonest)
				timer.Reset(time.Until(due))
				continue
			}
		}
		r.began = time.Now()
		pause := r.update(ctx)
		due = time.Now().Add(pause)
		timer.Reset(pause)
	}
}

// update fetches once and returns how long to wait before the next time.
func (r *Remote) update(ctx context.Context) time.Duration {
	got, err := r.fetch(ctx)
	changed := false
	if err == nil && !got.unchanged {
		changed, err = r.use(got)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return 0 // given up, not failed
	case err != nil:
		r.failed(err)
		return backoff.Delay(r.failures-1, firstBackoff, longestBackoff, rand.Float64())
	}
	r.succeeded(changed)
	return interval(got.maxAge, rand.Float64())
}

// use puts a new document in force.
func (r *Remote) use(got fetched) (changed bool, err error) {
	set, err := Parse(got.document)
	if err != nil {
		return false, err
	}
	if changed, err = r.config.Store.Put(set); err == nil {
		r.etag = got.etag
	}
	return changed, err
}

// failed says so once in a row of failures.
func (r *Remote) failed(err error) {
	r.metrics.failed.Inc()
	if r.failures++; r.failures > 1 {
		r.config.Logger.Debug("fetching public keys failed again", "cause", err, "failures", r.failures)
		return
	}
	const do = "look at the server behind --jwks-url; it is asked again until it answers well"
	if r.config.Store.Ready() == nil {
		r.config.Logger.Warn("fetching public keys failed; the last good ones stay in force", "cause", err, "do", do)
		return
	}
	r.config.Logger.Error("fetching public keys failed and there are none yet; /readyz stays 503", "cause", err, "do", do)
}

func (r *Remote) succeeded(changed bool) {
	if changed {
		r.metrics.changed.Inc()
	} else {
		r.metrics.unchanged.Inc()
	}
	r.metrics.confirmed.Store(time.Now().UnixNano())
	if r.failures > 0 {
		r.config.Logger.Info("fetching public keys works again", "failures", r.failures)
	}
	r.failures = 0
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

type remoteMetrics struct {
	changed, unchanged, failed *metrics.Counter

	// confirmed is when the server last said what the keys are, and before it
	// ever did, when it was first to be asked, in nanoseconds since the epoch.
	confirmed *atomic.Int64
}

func newRemoteMetrics(set *metrics.Set) remoteMetrics {
	if set == nil {
		set = metrics.NewSet()
	}
	counter := func(result string) *metrics.Counter {
		return set.NewCounter(fmt.Sprintf("bus_vm_jwks_fetches_total{result=%q}", result))
	}
	confirmed := &atomic.Int64{}
	confirmed.Store(time.Now().UnixNano())
	set.NewGauge("bus_vm_jwks_age_seconds", func() float64 {
		return time.Since(time.Unix(0, confirmed.Load())).Seconds()
	})
	return remoteMetrics{counter("changed"), counter("unchanged"), counter("failed"), confirmed}
}
