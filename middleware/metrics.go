package middleware

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
)

// latencyBuckets reach from a warm read to the cold start of a machine, in
// seconds.
var latencyBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// RouteMetrics counts the requests of one route.
type RouteMetrics struct {
	byCode   *counters[int]
	byReason *counters[string]
	duration *metrics.PrometheusHistogram
	inFlight atomic.Int64
}

// NewRouteMetrics registers the metrics of route, a short fixed word, in set.
func NewRouteMetrics(set *metrics.Set, route string) *RouteMetrics {
	m := &RouteMetrics{
		byCode: newCounters(set, fmt.Sprintf(`bus_vm_http_requests_total{route=%q,code="%%d"}`, route),
			http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable),
		byReason: newCounters(set, `bus_vm_refusals_total{reason=%q}`, reasonBusy),
		duration: set.NewPrometheusHistogramExt(fmt.Sprintf(`bus_vm_http_request_duration_seconds{route=%q}`, route), latencyBuckets),
	}
	set.NewGauge(fmt.Sprintf(`bus_vm_http_requests_in_flight{route=%q}`, route),
		func() float64 { return float64(m.inFlight.Load()) })
	return m
}

// Edge is in front of all other handlers of a route: it gives a request its id,
// answers for what stands behind it, see failed, and measures it.
func (m *RouteMetrics) Edge(logger *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) error {
		SetRequestID(c.Context(), c.Request().Header.Peek(fiber.HeaderXRequestID))
		m.inFlight.Add(1)
		refusal := failed(c, logger)
		m.inFlight.Add(-1)
		end, waited := c.Locals(waitsKey{}).(time.Time)
		if !waited {
			end = time.Now()
		}
		m.duration.Update(end.Sub(c.Context().Time()).Seconds())
		m.byCode.of(c.Response().StatusCode()).Inc()
		if refusal != nil {
			m.byReason.of(refusal.reason()).Inc()
		}
		return nil
	}
}

// CountRefusal counts a request that was refused before it reached its route.
func (m *RouteMetrics) CountRefusal(e *Error) {
	m.byCode.of(e.Status()).Inc()
	m.byReason.of(e.reason()).Inc()
}

// counters are one metric by the few values of a label, without a lock or an
// allocation where the value was seen before.
type counters[K comparable] struct {
	set   *metrics.Set
	name  string                                 // formatted with the value
	known atomic.Pointer[map[K]*metrics.Counter] // replaced whole
}

// newCounters makes those that alerts count the increase of: they must be there,
// at zero, before they are first seen, as the first sample is no increase.
func newCounters[K comparable](set *metrics.Set, name string, alerted ...K) *counters[K] {
	c := &counters[K]{set: set, name: name}
	c.known.Store(&map[K]*metrics.Counter{})
	for _, value := range alerted {
		c.of(value)
	}
	return c
}

func (c *counters[K]) of(value K) *metrics.Counter {
	for {
		known := c.known.Load()
		if counter := (*known)[value]; counter != nil {
			return counter
		}
		more := maps.Clone(*known)
		more[value] = c.set.GetOrCreateCounter(fmt.Sprintf(c.name, value))
		c.known.CompareAndSwap(known, &more)
	}
}
