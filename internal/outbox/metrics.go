package outbox

import "github.com/VictoriaMetrics/metrics"

type counters struct {
	commits, failures, writes, full    *metrics.Counter
	delivered, retries, replaced, late *metrics.Counter
}

// register makes the metrics of o. Each commit is two syncs of the file.
func (o *Outbox) register(set *metrics.Set) counters {
	gauge := func(name string, value func(Stats) float64) {
		set.NewGauge("bus_vm_outbox_"+name, func() float64 { return value(o.Stats()) })
	}
	gauge("records", func(s Stats) float64 { return float64(s.Records) })
	gauge("parked_records", func(s Stats) float64 { return float64(s.Parked) })
	gauge("oldest_record_age_seconds", func(s Stats) float64 { return s.OldestAge.Seconds() })
	set.NewGauge("bus_vm_outbox_damaged_files", func() float64 { return float64(len(o.damagedFiles())) })
	set.NewGauge("bus_vm_outbox_max_records", func() float64 { return float64(o.config.MaxRecords) })
	set.NewGauge("bus_vm_outbox_healthy", func() float64 {
		if o.Healthy() != nil {
			return 0
		}
		return 1
	})
	counter := func(name string) *metrics.Counter { return set.NewCounter("bus_vm_outbox_" + name + "_total") }
	return counters{
		commits:   counter("commits"),
		failures:  counter("commit_failures"),
		writes:    counter("writes"),
		full:      counter("full"),
		delivered: counter("delivered"),
		retries:   counter("retries"),
		replaced:  counter("unknown_replaced"),
		late:      counter("late_ignored"),
	}
}
