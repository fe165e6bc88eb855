package bus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The dispatcher starts each command of the documented .bus file, with the global
// flags before it in front.
func TestBusFile(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/bus.md"))
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(page), "```bus\n")
	require.True(t, ok)
	block, _, _ = strings.Cut(block, "```")
	commands, flags := 0, ""
	for line := range strings.Lines(block) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "api-provider-vm ")
		switch {
		case ok:
			commands++
			env := append(composeEnvironment(), "BUS_API_TOKEN=a-token")
			settings := printed(t, command(t, env, "exec go run ./cmd/bus-api-provider-vm"+flags+" "+args+" --print-config"))
			require.Contains(t, settings, "backend: events")
			require.Contains(t, settings, "level: error") // of the flag in front
		case strings.HasPrefix(line, "-"):
			flags += " " + strings.TrimSpace(line)
		}
	}
	require.Equal(t, 1, commands)
}
