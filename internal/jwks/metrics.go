package jwks

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

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
