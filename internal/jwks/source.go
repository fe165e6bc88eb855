package jwks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/backoff"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

const (
	interval       = 5 * time.Minute  // between two fetches when all is well
	missedInterval = 10 * time.Second // between two that unknown key ids cause
	// The pauses after failures begin between firstBackoff and twice that.
	firstBackoff   = time.Second / 2
	longestBackoff = time.Minute

	fetchTimeout   = 10 * time.Second // for a whole fetch
	connectTimeout = 5 * time.Second  // leaves time for other addresses of the server
	maxHeader      = 64 << 10         // bytes of the header of an answer
)

// Source holds the set that is in force: the last good one, for however long
// fetching the next one fails.
type Source struct {
	url     string
	use     func(*Set)
	logger  *slog.Logger
	client  *http.Client
	current atomic.Pointer[Set]         // empty before the first one
	fetches map[string]*metrics.Counter // by result

	refresh chan struct{} // asked for by an operator
	missed  chan struct{} // asked for by a token

	// confirmed is when the server last said what the keys are, and before it
	// ever did, when it was first to be asked, in nanoseconds since the epoch.
	confirmed atomic.Int64
	failures  int // since the last success; Run's own
}

// New returns a Source without a set. Its document is at url, accepted by
// CheckURL, or empty for sets that come by Put alone; use puts a set in force
// that verifies other tokens than the one before it.
func New(url string, use func(*Set), logger *slog.Logger, set *metrics.Set) *Source {
	s := &Source{
		url:     url,
		use:     use,
		logger:  logger,
		client:  Client,
		fetches: map[string]*metrics.Counter{},
		refresh: make(chan struct{}, 1),
		missed:  make(chan struct{}, 1),
	}
	s.current.Store(&Set{})
	set.NewGauge("bus_vm_jwks_keys", func() float64 { return float64(len(s.current.Load().keys)) })
	set.NewGauge("bus_vm_jwks_skipped_keys", func() float64 { return float64(len(s.current.Load().Skipped)) })
	if url == "" {
		return s
	}
	for _, result := range []string{"changed", "unchanged", "failed"} {
		s.fetches[result] = set.NewCounter(fmt.Sprintf("bus_vm_jwks_fetches_total{result=%q}", result))
	}
	s.confirmed.Store(time.Now().UnixNano())
	set.NewGauge("bus_vm_jwks_age_seconds", func() float64 {
		return time.Since(time.Unix(0, s.confirmed.Load())).Seconds()
	})
	return s
}

// Ready is an error until there is a set.
func (s *Source) Ready() error {
	if s.current.Load().Len() == 0 {
		return errors.New("no public keys for callers' tokens yet")
	}
	return nil
}

// Put makes set the current one and reports whether that changes anything for
// callers. It must not be called from two goroutines at once.
func (s *Source) Put(set *Set) (changed bool) {
	if changed = !s.current.Load().Equal(set); changed {
		s.use(set)
		s.logger.Info("public keys for callers' tokens in force", "keys", set.IDs(), "skipped", set.Skipped)
	}
	s.current.Store(set)
	return changed
}

// Refresh makes Run fetch now. It does not wait.
func (s *Source) Refresh() { ask(s.refresh) }

// Missed tells Run that a token names a key that is not in the set. It does not wait,
// and any client may cause it: Run fetches for it once in missedInterval at most.
func (s *Source) Missed() { ask(s.missed) }

func ask(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // asked already
	}
}

// Run fetches at once and then as long as ctx lasts: after an interval, when it is
// asked to, and after failures with growing pauses. It returns nil when ctx ends.
func (s *Source) Run(ctx context.Context) error {
	var began time.Time
	for due := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.missed:
			if soonest := began.Add(missedInterval); soonest.Before(due) {
				due = soonest
			}
			continue
		case <-s.refresh:
		case <-time.After(time.Until(due)):
		}
		began = time.Now()
		pause := s.update(ctx)
		due = time.Now().Add(pause)
	}
}

// update fetches once and returns how long to wait before the next time. It tells
// of failures once in a row.
func (s *Source) update(ctx context.Context) time.Duration {
	set, err := Fetch(ctx, s.client, s.url)
	if ctx.Err() != nil {
		return 0 // given up, not failed
	}
	if err != nil {
		s.fetches["failed"].Inc()
		s.failures++
		const do = "look at the server behind --jwks-url; it is asked again until it answers well"
		cause := secret.Redact(err.Error()) // a broken server's words may be in it
		switch {
		case s.failures > 1:
			s.logger.Debug("fetching public keys failed again", "cause", cause, "failures", s.failures)
		case s.Ready() == nil:
			s.logger.Warn("fetching public keys failed; the last good ones stay in force", "cause", cause, "do", do)
		default:
			s.logger.Error("fetching public keys failed and there are none yet; /readyz stays 503", "cause", cause, "do", do)
		}
		return backoff.Delay(s.failures-1, firstBackoff, longestBackoff, rand.Float64())
	}
	s.fetches[map[bool]string{true: "changed", false: "unchanged"}[s.Put(set)]].Inc()
	if s.failures > 0 {
		s.logger.Info("fetching public keys works again", "failures", s.failures)
	}
	s.failures = 0
	s.confirmed.Store(time.Now().UnixNano())
	return interval
}

// ErrURL means that no keys may be fetched from a URL. The URL itself is not
// repeated: it may hold a password.
var ErrURL = errors.New("want an absolute https URL, or http on a loopback address, without user or fragment")

// CheckURL returns ErrURL unless keys may be fetched from text: who can change
// them on their way can sign tokens.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !address.IsLoopbackHost(u.Hostname())) {
		return ErrURL
	}
	return nil
}

// Client is for fetches that are minutes apart.
var Client = &http.Client{
	Timeout: fetchTimeout,
	Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small body may unpack to a large one
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it is not followed
}

// Fetch asks for the document at a URL once. The error is ErrURL, or says why there
// is no set; it does not repeat the URL.
func Fetch(ctx context.Context, client *http.Client, from string) (*Set, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err := cmp.Or(CheckURL(from), err); err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json") // RFC 7517 §8.5.2
	response, err := client.Do(request)
	if err != nil {
		return nil, cmp.Or(errors.Unwrap(err), err) // without the URL
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1)) // Parse refuses one byte more
	if err != nil {
		return nil, err
	}
	return Parse(document)
}
