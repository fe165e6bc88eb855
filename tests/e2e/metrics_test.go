package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// busyStack is a stack with everything on that measures something, after
// traffic of every kind, good and bad.
func busyStack(t testing.TB) *stack {
	t.Helper()
	signer := hostile.NewSigner("ES256", "a")
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(hostile.JWKS(signer.JWK())))
	}))
	t.Cleanup(keys.Close)
	s := serveStack(t, "BUS_VM_JWKS_URL="+keys.URL, "BUS_VM_WRITES_PER_SECOND=5")
	harness.Eventually(t, "ready", func() bool { return ask(t, s.addr, request("GET /readyz", "")) == okReady })
	s.read()
	harness.Eventually(t, "too many requests", func() bool {
		return strings.HasPrefix(ask(t, s.addr, request("POST "+startPath, mint("vm:write"))), "429 ")
	})
	s.platform.Billing.Decide("", platform.Decision{Reason: "word_of_" + canary})
	s.send(request("POST "+stopPath, mintWith(`"sub":"00000000-0000-4000-8000-00000000000a"`)))
	s.platform.VM.SetBehaviour(platform.Behaviour{Refuse: &platform.EventError{Code: "word_of_" + canary, Message: canary}})
	s.platform.Billing.Decide("", platform.Decision{Allowed: true})
	s.send(request("POST "+stopPath, mintWith(`"sub":"00000000-0000-4000-8000-00000000000b"`)))
	for _, raw := range []string{
		request("GET /"+canary+"?"+canary, mint("vm:read")), request(canary+" /", ""), request("GET "+statusPath, canary+".x.y"),
		request("GET "+statusPath+"?"+canary, mint(canary)), request("POST "+startPath, mint("vm:write"), "X-Request-Id: "+canary), "nonsense\r\n\r\n",
	} {
		s.send(raw)
	}
	return s
}

// canary must not stand in any metric, whatever brings it.
const canary = "canary17"

// labelPair is a label of a sample; comments have no such.
var labelPair = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)

// Metrics are complete, described, and bounded in their labels; promtool finds
// nothing to say against them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "promtool")
	s := busyStack(t)
	_, text := harness.Get(t, s.admin, "/metrics", "")
	promtool(t, text, "check", "metrics")

	require.False(t, strings.Contains(text, canary))
	require.False(t, strings.Contains(text, "00000000-0000-4000-8000"))
	labels := []string{"version", "goversion", "route", "code", "le", "reason", "result", "event", "match"}
	for _, pair := range labelPair.FindAllStringSubmatch(text, -1) {
		require.Contains(t, labels, pair[1], pair[0])
		require.NotContains(t, pair[2], "/", pair[0])
		require.Less(t, len(pair[2]), 50, pair[0])
	}
	for _, line := range []string{
		`bus_vm_http_requests_total{route="status",code="200"} 1`, `bus_vm_http_requests_total{route="start",code="202"} `,
		`bus_vm_http_requests_total{route="start",code="429"} `, `bus_vm_http_requests_total{route="stop",code="402"} 1`,
		`bus_vm_http_requests_total{route="stop",code="502"} 1`, `bus_vm_http_requests_total{route="none",code="404"} `,
		`bus_vm_refusals_total{reason="denied"} 1`, `bus_vm_refusals_total{reason="bad_gateway"} `,
		`bus_vm_refusals_total{reason="too_many_requests"} `, `bus_vm_refusals_total{reason="scope"} 1`,
		`bus_vm_entitlement_answers_total{result="denied"} 1`, `bus_vm_events_stream_up{event="bus.vm.start.response"} 1`,
		`bus_vm_outbox_healthy 1`, `bus_vm_jwks_keys 1`, `bus_vm_reload_success 1`, `bus_vm_build_info{version="`,
	} {
		require.True(t, strings.Contains(text, "\n"+line), "%s among\n%s", line, text)
	}

	// What is scraped is what the runbook describes, and what is used is there.
	names := func(text, pattern string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return found
	}
	runbook, err := os.ReadFile(moduleRoot + "/docs/operations.md")
	require.NoError(t, err)
	scraped := names(text, `(?m)^# TYPE (\S+) `)
	require.Equal(t, names(string(runbook), "(?m)^\\| `([a-z_]+)` \\| (?:counter|gauge|histogram) \\|"), scraped)
	used := strings.Join(dashboardQueries(t), "\n")
	for _, rule := range alertRules(t) {
		used += "\n" + rule.Expr
	}
	require.Subset(t, scraped, names(used, `\b((?:bus_vm|process|go)_[a-z_]+?)(?:_bucket|_sum|_count)?\b`))
}

// dashboardQueries are the expressions of the shipped dashboard, as Grafana
// would send them for all instances.
func dashboardQueries(t testing.TB) (all []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(shipped(t, "grafana/dashboard.json")), &dashboard))
	filled := strings.NewReplacer("$instance", ".*", "$__rate_interval", "10s")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			require.Regexp(t, `bus_vm_|process_|go_`, target.Expr, panel.Title)
			all = append(all, filled.Replace(target.Expr))
		}
	}
	require.NotEmpty(t, all)
	return all
}
