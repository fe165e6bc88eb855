package snapshot

import (
	"time"

	"github.com/VictoriaMetrics/metrics"
)

type keeperMetrics struct {
	refreshed, failed, discarded, shared, unproven, invalidations *metrics.Counter
}

func newMetrics(set *metrics.Set, k *Keeper) keeperMetrics {
	if set == nil {
		set = metrics.NewSet()
	}
	// The age is read when it is scraped; nothing on display has none.
	set.NewGauge("bus_vm_snapshot_age_seconds", func() float64 {
		s := k.current.Load()
		if s == nil {
			return 0
		}
		return time.Since(s.askedAt).Seconds()
	})
	refresh := func(result string) *metrics.Counter {
		return set.NewCounter(`bus_vm_snapshot_refreshes_total{result="` + result + `"}`)
	}
	return keeperMetrics{
		refreshed:     refresh("ok"),
		failed:        refresh("failed"),
		discarded:     refresh("overtaken"),
		shared:        refresh("shared"),
		unproven:      refresh("unproven"),
		invalidations: set.NewCounter("bus_vm_snapshot_invalidations_total"),
	}
}
