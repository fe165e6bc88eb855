package middleware

import (
	"fmt"
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

// What alerts count the increase of must be there, at zero, before it is first
// seen: the first sample of a series is no increase.
var (
	alertedCodes   = []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}
	alertedReasons = []string{reasonBusy}
)

// statusCodes bounds the table of counters by status code.
const statusCodes = 600

// RouteMetrics counts the requests of one route. A nil *RouteMetrics counts
// nothing.
type RouteMetrics struct {
	set      *metrics.Set
	route    string
	byCode   [statusCodes]atomic.Pointer[metrics.Counter]
	byReason atomic.Pointer[map[string]*metrics.Counter] // replaced whole, never nil
	duration *metrics.PrometheusHistogram
	inFlight atomic.Int64
}

// NewRouteMetrics registers the metrics of route, a short fixed word, in set.
func NewRouteMetrics(set *metrics.Set, route string) *RouteMetrics {
	m := &RouteMetrics{set: set, route: route}
	m.byReason.Store(&map[string]*metrics.Counter{})
	m.duration = set.NewPrometheusHistogramExt(
		fmt.Sprintf(`bus_vm_http_request_duration_seconds{route=%q}`, route), latencyBuckets)
	set.NewGauge(fmt.Sprintf(`bus_vm_http_requests_in_flight{route=%q}`, route),
		func() float64 { return float64(m.inFlight.Load()) })
	for _, code := range alertedCodes {
		m.counter(code)
	}
	for _, reason := range alertedReasons {
		m.refusals(reason)
	}
	return m
}

// refusalKey is where Errors leaves the *Error it answered with.
type refusalKey struct{}

// Handler measures what stands behind it. It belongs in front of Errors, so
// that it sees the answers to failures too.
func (m *RouteMetrics) Handler() fiber.Handler {
	return func(c *fiber.Ctx) error {
		m.inFlight.Add(1)
		err := c.Next()
		m.inFlight.Add(-1)
		m.duration.Update(time.Since(c.Context().Time()).Seconds())
		code := c.Response().StatusCode()
		m.counter(code).Inc()
		if code >= http.StatusBadRequest {
			if e, ok := c.Locals(refusalKey{}).(*Error); ok {
				m.refused(e)
			}
		}
		return err
	}
}

// Refuse counts a request that was refused before it reached its route.
func (m *RouteMetrics) Refuse(e *Error) {
	if m == nil {
		return
	}
	m.counter(e.Status()).Inc()
	m.refused(e)
}

func (m *RouteMetrics) refused(e *Error) {
	reason := e.Reason
	if reason == "" {
		reason = string(e.Code) // never the type, which may be an integration's word
	}
	m.refusals(reason).Inc()
}

// refusals is the counter of one reason, made when it is first seen. Reasons
// are words of this gateway, and few.
func (m *RouteMetrics) refusals(reason string) *metrics.Counter {
	for {
		known := m.byReason.Load()
		if counter := (*known)[reason]; counter != nil {
			return counter
		}
		more := maps.Clone(*known)
		more[reason] = m.set.GetOrCreateCounter(fmt.Sprintf(`bus_vm_refusals_total{reason=%q}`, reason))
		m.byReason.CompareAndSwap(known, &more)
	}
}

// counter is the counter of one status code, made when it is first seen.
func (m *RouteMetrics) counter(code int) *metrics.Counter {
	if code < 0 || code >= statusCodes {
		code = http.StatusInternalServerError
	}
	if counter := m.byCode[code].Load(); counter != nil {
		return counter
	}
	counter := m.set.GetOrCreateCounter(
		fmt.Sprintf(`bus_vm_http_requests_total{route=%q,code="%d"}`, m.route, code))
	m.byCode[code].Store(counter)
	return counter
}
