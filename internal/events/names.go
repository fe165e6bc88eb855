package events

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// The requests this gateway publishes. ReplyName names the event that answers.
const (
	StatusRequest      = "bus.vm.status.request"
	StartRequest       = "bus.vm.start.request"
	StopRequest        = "bus.vm.stop.request"
	EntitlementRequest = "bus.billing.entitlement.check.request"
	UsageRequest       = "bus.usage.record.request"
)

// ReplyName is the event that answers request: `.request` becomes `.response`.
func ReplyName(request string) string {
	return strings.TrimSuffix(request, ".request") + ".response"
}

// scopes lists what the Events API asks for, by the prefix of an event name.
var scopes = []struct{ prefix, scope string }{
	{"bus.vm.status.", "vm:read"},
	{"bus.vm.start.", "vm:write"},
	{"bus.vm.stop.", "vm:write"},
	{"bus.usage.", "usage:write"},
	{"bus.billing.entitlement.", "billing:entitlement:check"},
}

// ScopesFor lists the scopes that the provider token needs in order to publish
// and to subscribe to the named events, sorted and each once.
func ScopesFor(names ...string) []string {
	var need []string
	for _, s := range scopes {
		for _, name := range names {
			if strings.HasPrefix(name, s.prefix) {
				need = append(need, s.scope)
			}
		}
	}
	slices.Sort(need)
	return slices.Compact(need)
}

// collectionPath is the resource of the Events API that publishes and streams.
const collectionPath = "/api/v1/events"

// ErrURL means that a URL cannot be that of an Events API. The URL itself is
// not repeated: it may hold a password.
var ErrURL = errors.New("the Events URL must be an absolute http or https URL without user, query or fragment")

// CollectionURL turns what operators write, the root of the service, a root
// with a path or the collection itself, into the collection's URL without a
// trailing slash. Its error is ErrURL.
func CollectionURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return "", ErrURL
	}
	root := strings.TrimRight(u.EscapedPath(), "/")
	if !strings.HasSuffix(root, collectionPath) {
		root += collectionPath
	}
	return u.Scheme + "://" + u.Host + root, nil
}

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
