package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// firingPatience bounds the wait for all alerts. The slowest needs half a
// minute of the shortened clock.
const firingPatience = 2 * time.Minute

// target is a gateway that something is going to happen to, and the alerts
// that must follow.
type target struct {
	admin  string
	alerts []string
	drive  func(ctx context.Context) // until ctx ends
}

type alertRule struct {
	Alert       string
	Expr        string
	Annotations map[string]string
}

// alertRules reads the shipped alerts.
func alertRules(t testing.TB) (rules []alertRule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	require.NoError(t, yaml.Unmarshal([]byte(shipped(t, "prometheus/alerts.yml")), &file))
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	require.NotEmpty(t, rules)
	return rules
}

var (
	minutes       = regexp.MustCompile(`(\[|for: )(\d+)m(\]|\n)`)
	timesAMinute  = regexp.MustCompile(`(\d+) \* 60\b`)
	notMinutesYet = regexp.MustCompile(`\d[hdm]\b|\* 60\b`)
)

// hurried makes a second of each minute in the alerts.
func hurried(t testing.TB, rules string) string {
	t.Helper()
	rules = timesAMinute.ReplaceAllString(minutes.ReplaceAllString(rules, "${1}${2}s${3}"), "${1}")
	for line := range strings.Lines(rules) {
		if strings.Contains(line, "expr:") || strings.Contains(line, "for:") || strings.HasPrefix(line, "          ") && !strings.Contains(line, `"`) {
			require.NotRegexp(t, notMinutesYet, line)
		}
	}
	return rules
}

// undriven are the alerts that no test can drive a real gateway into, and why.
// Their conditions are shown by promtool alone.
var undriven = map[string]string{
	"BusVMInternalErrors": "it takes a bug to answer 500",
}

// Each alert fires when the real gateway meets the fault it is for, as a real
// Prometheus sees it, and none while all is well; each panel of the dashboard
// then has something to show. A minute of the shipped rules is a second here.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "prometheus")
	targets := map[string]*target{
		"healthy":     healthyTarget(t),
		"restarted":   restartedTarget(t),
		"no events":   withoutEvents(t),
		"cut streams": withCutStreams(t),
		"bad worker":  withBadWorker(t),
		"slow worker": withSlowWorker(t),
		"billing":     withSilentBilling(t),
		"usage":       withSilentUsage(t),
		"parked":      withRefusedRecords(t),
		"damaged":     withDamagedOutbox(t),
		"refused":     withRefusedPublishes(t),
		"limits":      withLimitsReached(t),
		"keys":        withLostKeys(t),
		"reload":      withBadReload(t),
	}
	if disk := withFullDisk(t); disk != nil {
		targets["disk"] = disk
	}
	missing := map[string]bool{} // by alert and instance
	var addrs, covered []string
	for _, each := range targets {
		addrs = append(addrs, each.admin)
		for _, alert := range each.alerts {
			missing[alert+" at "+each.admin] = true
			covered = append(covered, alert)
		}
	}
	requireAllCovered(t, covered)

	p := watch(t, hurried(t, shipped(t, "prometheus/alerts.yml")), addrs)
	harness.Eventually(t, "all targets are scraped", func() bool { return len(p.query(t, `up == 1`)) == len(addrs) })
	ctx, cancel := context.WithCancel(t.Context())
	var drives sync.WaitGroup
	defer drives.Wait()
	defer cancel()
	for _, each := range targets {
		drives.Go(func() { each.drive(ctx) })
	}
	limit := time.NewTimer(firingPatience)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for len(missing) > 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not firing: %v; firing: %v", missing, p.query(t, `ALERTS{alertstate="firing"}`))
		}
		for _, firing := range p.query(t, `ALERTS{alertstate="firing"}`) {
			require.NotEqual(t, targets["healthy"].admin, firing["instance"], "all is well there: %v", firing)
			delete(missing, firing["alertname"]+" at "+firing["instance"])
		}
	}
	for _, query := range dashboardQueries(t) {
		require.NotEmpty(t, p.query(t, query), "a panel stays empty: %s", query)
	}
}

// requireAllCovered expects that every alert is driven or known not to be.
func requireAllCovered(t testing.TB, covered []string) {
	t.Helper()
	for _, rule := range alertRules(t) {
		_, known := undriven[rule.Alert]
		if rule.Alert == "BusVMOutboxCannotWrite" && !canMount(t) {
			known = true
		}
		require.True(t, known != slices.Contains(covered, rule.Alert), "%s is either driven here or has a reason not to be", rule.Alert)
	}
}

// Every alert says what is wrong, where, and where to read on.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, rule := range alertRules(t) {
		require.Regexp(t, `^BusVM[A-Z]\w+$`, rule.Alert)
		require.Regexp(t, `^[A-Z].*\.$`, rule.Annotations["summary"], rule.Alert)
		require.Regexp(t, `\{\{ \$labels\.instance \}\}.*\.$`, rule.Annotations["description"], rule.Alert)
		require.Equal(t, "https://github.com/busdk/bus-api-provider-vm/blob/main/docs/operations.md#"+strings.ToLower(rule.Alert),
			rule.Annotations["runbook_url"])
	}
	tests := shipped(t, "prometheus/alerts_test.yml")
	for _, rule := range alertRules(t) {
		require.Contains(t, tests, fmt.Sprintf("\n  - name: %s\n", rule.Alert))
	}
}

// canMount reports a machine where a full disk can be had. In CI it must.
func canMount(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return true
	}
	require.Empty(t, os.Getenv("CI"), "the full-disk alert needs to mount a tmpfs")
	return false
}
