package admin

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the table of metrics in docs/operations.md")

// The runbook describes every metric, in words of one list.
func TestRunbookListsTheMetrics(t *testing.T) {
	const path, begin, end = "../../docs/operations.md", "<!-- metrics:begin -->\n", "<!-- metrics:end -->"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	was, after, closed := strings.Cut(rest, end)
	require.True(t, ok && closed, "%s has no place for the table", path)
	table := "| metric | kind | what |\n|---|---|---|\n"
	for _, f := range families {
		table += fmt.Sprintf("| `%s` | %s | %s |\n", f.name, f.kind, f.help)
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+begin+table+end+after), 0o644))
		return
	}
	require.Equal(t, table, was, "%s is stale; run: go test ./internal/admin -update", path)
}
