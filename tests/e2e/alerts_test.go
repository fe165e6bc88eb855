package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

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
