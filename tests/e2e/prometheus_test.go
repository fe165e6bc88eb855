package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// prometheus is a running server of Debian's package.
type prometheus struct {
	*process
	addr string
}

var prometheusLine = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// watch starts a Prometheus that scrapes targets four times a second under the
// job of the alerts, and evaluates rules as often.
func watch(t testing.TB, rules string, targets []string) *prometheus {
	t.Helper()
	config, err := json.Marshal(map[string]any{ // YAML, too
		"global":     map[string]string{"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
		"rule_files": []string{writeFile(t, "alerts.yml", rules)},
		"scrape_configs": []any{map[string]any{
			"job_name": "bus-vm", "static_configs": []any{map[string]any{"targets": targets}},
		}},
	})
	require.NoError(t, err)
	path, err := exec.LookPath("prometheus")
	require.NoError(t, err)
	p := &prometheus{process: launch(t, nil, path,
		"--config.file="+writeFile(t, "prometheus.yml", string(config)), "--storage.tsdb.path="+t.TempDir(), "--web.listen-address=127.0.0.1:0")}
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
	for _, c := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		promtool(t, "", c[0], c[1], filepath.Join(moduleRoot, "deploy/prometheus", c[2]))
	}
}
