package middleware

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/valyala/fasthttp"
)

// measured is an application of one route that is measured.
func measured(set *metrics.Set, handler fiber.Handler) fasthttp.RequestHandler {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.All("/", NewRouteMetrics(set, "x").Edge(silent), handler)
	return app.Handler()
}

// samples are the lines of set whose names begin with prefix, buckets and zeros left out.
func samples(set *metrics.Set, prefix string) []string {
	var b bytes.Buffer
	set.WritePrometheus(&b)
	var lines []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, prefix) && !strings.Contains(line, "_bucket{") && !strings.HasSuffix(line, "} 0\n") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// Each answer is counted by its code, and each refusal by one of a few words,
// whatever an integration calls it.
func TestRouteMetrics(t *testing.T) {
	reasoned := Unavailable(1, "x", nil)
	reasoned.Reason = "writes_in_flight"
	denied := func(reason string) fiber.Handler {
		return func(*fiber.Ctx) error { return &lifecycle.Error{Kind: lifecycle.Denied, Type: reason, Message: "x"} }
	}
	for _, c := range []struct {
		name    string
		handler fiber.Handler
		code    string
		reason  string // "" for no refusal
	}{
		{"a success", func(c *fiber.Ctx) error { return c.SendStatus(202) }, "202", ""},
		{"a status of the handler's own", func(c *fiber.Ctx) error { return c.SendStatus(418) }, "418", ""},
		{"a code", func(*fiber.Ctx) error { return NewError(CodeNotFound, "x") }, "404", "not_found"},
		{"a reason", func(*fiber.Ctx) error { return reasoned }, "503", "writes_in_flight"},
		{"a missing token", func(*fiber.Ctx) error { return errMissingToken }, "401", "missing_token"},
		{"a missing scope", func(*fiber.Ctx) error { return challenge(CodeInsufficientAccess, "scope", "", "") }, "403", "scope"},
		{"a denial that billing names", denied("quota_exceeded"), "402", "quota_exceeded"},
		{"a denial of any other name", denied("word_of_billing"), "402", "denied"},
		{"an integration's own error", func(*fiber.Ctx) error {
			return &lifecycle.Error{Kind: lifecycle.Rejection, Type: "word_of_worker", Message: "x"}
		}, "502", "bad_gateway"},
		{"any error", func(*fiber.Ctx) error { return errors.New("x") }, "500", "internal_error"},
		{"a panic", func(*fiber.Ctx) error { panic("x") }, "500", "internal_error"},
	} {
		set := metrics.NewSet()
		handler := measured(set, c.handler)
		for range 2 {
			ask(t, handler, "", "")
		}
		assert.Equal(t, []string{`bus_vm_http_requests_total{route="x",code="` + c.code + `"} 2`}, samples(set, "bus_vm_http_requests_total"), c.name)
		assert.Empty(t, samples(set, "bus_vm_http_requests_in_flight"), c.name)
		assert.Contains(t, samples(set, "bus_vm_http_request_duration"), `bus_vm_http_request_duration_seconds_count{route="x"} 2`, c.name)
		var refusals []string
		if c.reason != "" {
			refusals = []string{`bus_vm_refusals_total{reason="` + c.reason + `"} 2`}
		}
		assert.Equal(t, refusals, samples(set, "bus_vm_refusals_total"), c.name)
	}
}

// What alerts count the increase of is there before it first happens.
func TestAlertedCountersStartAtZero(t *testing.T) {
	set := metrics.NewSet()
	NewRouteMetrics(set, "x")
	assert.Subset(t, set.ListMetricNames(), []string{
		`bus_vm_http_requests_total{route="x",code="500"}`, `bus_vm_http_requests_total{route="x",code="502"}`,
		`bus_vm_http_requests_total{route="x",code="503"}`, `bus_vm_refusals_total{reason="writes_in_flight"}`,
	})
}
