package bus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// The command of the service bus-vm in the platform's compose.yaml.
const (
	composeAddr    = "0.0.0.0:8085"
	composeCommand = "exec go run ./cmd/bus-api-provider-vm --addr " + composeAddr +
		" --backend static --usage-backend memory --billing-backend none --events-url http://bus-events:8081"
)

// composeEnvironment is what that service and the dispatcher set. The token file
// is often absent.
func composeEnvironment() []string {
	return []string{
		"BUS_VM_JWT_SECRET=" + secret,
		"BUS_API_JWT_SECRET=" + secret,
		"BUS_EVENTS_API_URL=http://bus-events:8081",
		"BUS_EVENTS_TOKEN_FILE=.bus/tokens/local-events.jwt",
		"BUS_EVENTS_LISTENER_RETRY=true",
		"BUS_EVENTS_LISTENER_RETRY_MIN=250ms",
		"BUS_EVENTS_LISTENER_RETRY_MAX=5s",
	}
}

// The command as it stands would serve on the address it says.
func TestComposeCommandIsAccepted(t *testing.T) {
	require.Equal(t, "configuration ok\n", printed(t, command(t, composeEnvironment(), composeCommand+" --check-config")))
	settings := printed(t, command(t, composeEnvironment(), composeCommand+" --print-config"))
	require.Contains(t, settings, "addr: "+composeAddr+" # flag --addr\n")
}

// The command on loopback passes the platform's smoke checks.
func TestComposeCommandServes(t *testing.T) {
	token := strings.TrimSpace(printed(t, command(t, composeEnvironment(),
		`exec go run ./cmd/bus-api-provider-vm token --scope "vm:read vm:write"`)))
	addr := harness.FreeAddress(t)
	line := strings.Replace(composeCommand, composeAddr, addr, 1)
	serve(t, command(t, append(composeEnvironment(), "BUS_API_TOKEN="+token), line), addr)

	require.Contains(t, get(t, addr, "/readyz", token), `"ok":true`)
	require.Contains(t, get(t, addr, "/api/v1/vm/status", token), `"provider":"static"`)
}

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
