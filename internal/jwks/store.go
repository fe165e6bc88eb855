package jwks

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
)

// StoreConfig configures NewStore.
type StoreConfig struct {
	// Use puts a set in force. It is called for each set that verifies other
	// tokens than the one before it.
	Use func(*Set) error
	// Logger gets one line for each change; default none.
	Logger *slog.Logger
	// Metrics gets the gauges of keys; nil for none.
	Metrics *metrics.Set
}

// Store holds the set that is in force.
type Store struct {
	config  StoreConfig
	current atomic.Pointer[Set]
}

// errNoSet is Ready before the first set.
var errNoSet = errors.New("no public keys for callers' tokens yet")

// NewStore returns a Store without a set.
func NewStore(config StoreConfig) *Store {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Metrics == nil {
		config.Metrics = metrics.NewSet()
	}
	s := &Store{config: config}
	count := func(of func(*Set) int) func() float64 {
		return func() float64 {
			if set := s.current.Load(); set != nil {
				return float64(of(set))
			}
			return 0
		}
	}
	config.Metrics.NewGauge("bus_vm_jwks_keys", count(func(set *Set) int { return len(set.keys) }))
	config.Metrics.NewGauge("bus_vm_jwks_skipped_keys", count(func(set *Set) int { return len(set.skipped) }))
	return s
}

// Put makes set the current one and reports whether that changes anything for
// callers. An error is Use's, and leaves the set before in force. It must not
// be called from two goroutines at once.
func (s *Store) Put(set *Set) (changed bool, err error) {
	before := s.current.Load()
	if before == nil || !before.Equal(set) {
		if err := s.config.Use(set); err != nil {
			return false, err
		}
		changed = true
		s.config.Logger.Info("public keys for callers' tokens in force", "keys", set.IDs(), "skipped", set.Skipped())
	}
	s.current.Store(set)
	return changed, nil
}

// Ready is an error until there is a set.
func (s *Store) Ready() error {
	if s.current.Load() == nil {
		return errNoSet
	}
	return nil
}
