package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shipped reads a file below deploy/.
func shipped(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "deploy", name))
	require.NoError(t, err)
	return string(text)
}

// promtool runs a check of Debian's promtool, and shows what it says if it is
// not content.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	command := exec.Command("promtool", args...)
	command.Stdin = strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	require.NoError(t, err, fmt.Sprintf("promtool %s:\n%s", strings.Join(args, " "), output))
}

// The shipped files are what Prometheus takes, and each alert is quiet and
// fires as its own test says.
func TestPromtoolAcceptsWhatIsShipped(t *testing.T) {
	t.Parallel()
	needs(t, "promtool")
	promtool(t, "", "check", "config", filepath.Join(moduleRoot, "deploy/prometheus/prometheus.yml"))
	promtool(t, "", "check", "rules", filepath.Join(moduleRoot, "deploy/prometheus/alerts.yml"))
	promtool(t, "", "test", "rules", filepath.Join(moduleRoot, "deploy/prometheus/alerts_test.yml"))
	var panels []any
	for i, query := range dashboardQueries(t) {
		panels = append(panels, map[string]string{"record": fmt.Sprintf("panel_%d", i), "expr": query})
	}
	rules, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": panels}}}) // YAML, too
	require.NoError(t, err)
	promtool(t, "", "check", "rules", writeFile(t, "dashboard.yml", string(rules)))
}
