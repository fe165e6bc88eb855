package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// prometheus is a running server of Debian's package.
type prometheus struct {
	*process
	addr string
}

var prometheusLine = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// watch starts a Prometheus that scrapes targets twice a second under the
// job of the alerts, and evaluates rules four times a second.
func watch(t testing.TB, rules string, targets []string) *prometheus {
	t.Helper()
	config, err := json.Marshal(map[string]any{ // YAML, too
		"global":     map[string]string{"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "250ms"},
		"rule_files": []string{harness.File(t, "alerts.yml", rules)},
		"scrape_configs": []any{map[string]any{
			"job_name": "bus-vm", "static_configs": []any{map[string]any{"targets": targets}},
		}},
	})
	require.NoError(t, err)
	path, err := exec.LookPath("prometheus")
	require.NoError(t, err)
	p := &prometheus{process: launch(t, nil, nil, path,
		"--config.file="+harness.File(t, "prometheus.yml", string(config)), "--storage.tsdb.path="+t.TempDir(), "--web.listen-address=127.0.0.1:0")}
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		require.Equal(t, 0, p.wait(t), "%s", p.stderr)
	})
	p.addr = p.says(t, prometheusLine)
	return p
}

// query returns the label sets that an expression yields now.
func (p *prometheus) query(t testing.TB, expression string) []map[string]string {
	t.Helper()
	status, body := harness.Get(t, p.addr, "/api/v1/query?query="+url.QueryEscape(expression), "")
	if status == http.StatusServiceUnavailable {
		return nil // it is still starting
	}
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Metric map[string]string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Equal(t, "success", answer.Status, answer.Error)
	var found []map[string]string
	for _, each := range answer.Data.Result {
		found = append(found, each.Metric)
	}
	return found
}

// shipped reads a file below deploy/.
func shipped(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "deploy", name))
	require.NoError(t, err)
	return string(text)
}

// promtool runs a check of Debian's promtool.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	command := exec.Command("promtool", args...)
	command.Stdin = strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s:\n%s", command, output)
}

// The shipped files are what Prometheus takes, and each alert is quiet and
// fires as its own test says.
func TestPromtoolAcceptsWhatIsShipped(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "promtool")
	const directory = moduleRoot + "/deploy/prometheus/"
	promtool(t, "", "check", "config", directory+"prometheus.yml")
	promtool(t, "", "check", "rules", directory+"alerts.yml")
	promtool(t, "", "test", "rules", directory+"alerts_test.yml")
}

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
		request("GET "+statusPath+"?"+canary, mint(canary)), request("POST "+startPath, mint("vm:write"), "X-Request-Id: "+canary), "malformed\r\n\r\n",
	} {
		s.send(raw)
	}
	return s
}

// canary must not stand in any metric, whatever brings it.
const canary = "canary17"

// labelPair is a label of a sample. No comment has one.
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
	labels := []string{"version", "goversion", "route", "code", "le", "reason", "result", "event", "match", "listener", "state"}
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
		`bus_vm_store_healthy 1`, `bus_vm_jwks_keys 1`, `bus_vm_reload_success 1`, `bus_vm_build_info{version="`,
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
	var used string
	for _, panel := range dashboard(t, ".*") {
		for _, target := range panel.Targets {
			used += "\n" + target.Expr
		}
	}
	for _, rule := range alertRules(t, shipped(t, "prometheus/alerts.yml")) {
		used += "\n" + rule.Expr
	}
	require.Subset(t, scraped, names(used, `\b((?:bus_vm|process|go)_[a-z_]+?)(?:_bucket|_sum|_count)?\b`))
}

// panel is one picture of the shipped dashboard, or the head of a row of them.
type panel struct {
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Thresholds    struct{ Steps []struct{ Color string } }
		}
		Overrides []struct{ Matcher struct{ ID, Options any } }
	}
	Targets []struct {
		Expr    string
		Instant bool
	}
}

// dashboard reads the shipped one, with the expressions as Grafana would send
// them for the instances that match a pattern.
func dashboard(t testing.TB, instances string) (panels []panel) {
	t.Helper()
	var file struct{ Panels []panel }
	filled := strings.NewReplacer("$instance", instances, "$__rate_interval", "10s").Replace(shipped(t, "grafana/dashboard.json"))
	require.NoError(t, json.Unmarshal([]byte(filled), &file))
	require.NotEmpty(t, file.Panels)
	return file.Panels
}

// The dashboard begins with tiles, names the unit of every panel, and lays none
// over another.
func TestDashboardIsComplete(t *testing.T) {
	t.Parallel()
	var tiles []string
	panels := dashboard(t, ".*")
	for i, p := range panels {
		for _, other := range panels[:i] {
			a, b := p.GridPos, other.GridPos
			require.NotEqual(t, p.Title, other.Title)
			require.False(t, a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H, "%s lies over %s", p.Title, other.Title)
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		if p.Type == "stat" {
			tiles = append(tiles, p.Title)
			require.Less(t, i, 6, "%s is on top", p.Title)
			require.NotEmpty(t, p.FieldConfig.Defaults.NoValue, p.Title)
			require.NotEmpty(t, p.FieldConfig.Defaults.Thresholds.Steps, p.Title)
			require.True(t, p.Targets[0].Instant, "%s shows what is, not what was", p.Title)
		}
	}
	require.Equal(t, []string{"Machine", "Time to ready", "Errors", "Usage records waiting", "Parked"}, tiles)
}

// Every query of the dashboard, without exception, yields something from a gateway that did reads,
// starts and stops and failed at some, as a real Prometheus sees it; the tiles
// do where nothing has failed, too.
func TestDashboard(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "prometheus")
	busy, calmly := busyStack(t), serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=10s")
	p := watch(t, shipped(t, "prometheus/alerts.yml"), []string{busy.admin, calmly.admin})
	ctx, cancel := context.WithCancel(t.Context())
	var drives sync.WaitGroup
	defer drives.Wait()
	defer cancel()
	for _, s := range []*stack{busy, calmly} {
		drives.Go(func() {
			harness.Every(ctx, 3*calm, func() {
				s.start()
				s.read()
				s.send(request("POST "+stopPath, mint("vm:write")))
			})
		})
	}
	drives.Go(func() { harness.Every(ctx, 3*calm, busy.read) })
	shows := func(what panel, expression string) { // NaN is nothing to show
		harness.Eventually(t, what.Title, func() bool { return len(p.query(t, "("+expression+") > -Inf")) > 0 }, expression)
	}
	for _, what := range dashboard(t, ".*") {
		for _, target := range what.Targets {
			require.Regexp(t, `bus_vm_|process_|go_`, target.Expr, what.Title)
			shows(what, target.Expr)
		}
	}
	for _, what := range dashboard(t, calmly.admin) {
		if what.Type == "stat" {
			shows(what, what.Targets[0].Expr)
		}
	}

	// The tile of the machine has a word for each state that is measured.
	var words, states []any
	machine := dashboard(t, ".*")[1]
	for _, each := range machine.FieldConfig.Overrides {
		words = append(words, each.Matcher.Options)
	}
	for _, each := range p.query(t, `count by (state) (bus_vm_runtime_state)`) {
		states = append(states, each["state"])
	}
	require.ElementsMatch(t, states, words)
}
