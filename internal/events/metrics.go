package events

import (
	"errors"
	"fmt"

	"github.com/VictoriaMetrics/metrics"
)

// streamCounts are the counters of one reply stream.
type streamCounts struct {
	reconnects *metrics.Counter
	replays    *metrics.Counter
	replies    map[matching]*metrics.Counter
	history    *metrics.Counter // replayed replies to other requesters
	malformed  *metrics.Counter
	foreign    *metrics.Counter
	tooLong    *metrics.Counter

	openings int // only its stream's goroutine counts
}

// opened counts every opening but the first.
func (c *streamCounts) opened() {
	if c.openings++; c.openings > 1 {
		c.reconnects.Inc()
	}
}

func newStreamCounts(set *metrics.Set, reply string, up func() bool) streamCounts {
	name := func(metric, label, value string) string {
		if label == "" {
			return fmt.Sprintf("bus_vm_events_%s{event=%q}", metric, reply)
		}
		return fmt.Sprintf("bus_vm_events_%s{event=%q,%s=%q}", metric, reply, label, value)
	}
	counter := func(metric, label, value string) *metrics.Counter {
		return set.GetOrCreateCounter(name(metric, label, value))
	}
	set.GetOrCreateGauge(name("stream_up", "", ""), func() float64 {
		if up() {
			return 1
		}
		return 0
	})
	counts := streamCounts{
		reconnects: counter("stream_reconnects_total", "", ""),
		replays:    counter("stream_replays_total", "", ""),
		history:    counter("replies_total", "match", "history"),
		malformed:  counter("skipped_lines_total", "reason", "malformed"),
		foreign:    counter("skipped_lines_total", "reason", "other_event"),
		tooLong:    counter("skipped_lines_total", "reason", "too_long"),
		replies:    make(map[matching]*metrics.Counter),
	}
	for _, kind := range []matching{matched, late, duplicate, unmatched} {
		counts.replies[kind] = counter("replies_total", "match", string(kind))
	}
	return counts
}

// publishCounts are the counters of all publishes, by result.
type publishCounts struct{ accepted, refused, notSent, unknown *metrics.Counter }

func newPublishCounts(set *metrics.Set) publishCounts {
	counter := func(result string) *metrics.Counter {
		return set.GetOrCreateCounter(fmt.Sprintf("bus_vm_events_publishes_total{result=%q}", result))
	}
	return publishCounts{
		accepted: counter("accepted"), refused: counter("refused"),
		notSent: counter("not_sent"), unknown: counter("unknown"),
	}
}

// count counts the result of one publish.
func (c *publishCounts) count(err error) {
	switch {
	case err == nil:
		c.accepted.Inc()
	case errors.Is(err, ErrNotSent):
		c.notSent.Inc()
	case errors.Is(err, ErrRefused):
		c.refused.Inc()
	default:
		c.unknown.Inc()
	}
}
