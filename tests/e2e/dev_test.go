package e2e

import (
	"net"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// devSecret is the platform's published secret for development.
const devSecret = "not-a-secret-local-development-hs256-key"

// The one-command start: what it prints is run as it is printed, line by line,
// the way a newcomer pastes it.
func TestDevPrintsCallsThatWork(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "curl")
	greeting := regexp.MustCompile(`(?m)^(TOKEN=|curl ).*\n`)
	for name, c := range map[string]struct{ env, args []string }{
		"as it comes":    {[]string{"BUS_VM_JWT_SECRET="}, nil},
		"another secret": {nil, nil},
		"IPv6":           {nil, []string{"--addr", "[::1]:0"}},
		"unix socket":    {nil, []string{"--addr", "unix:" + t.TempDir() + "/vm.sock"}},
	} {
		if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
			_ = l.Close()
		} else if name == "IPv6" {
			continue
		}
		g := serve(t, c.env, append([]string{"--dev"}, c.args...)...)
		var lines []string // an assignment, then calls
		harness.Eventually(t, "a greeting", func() bool {
			lines = greeting.FindAllString(g.stdout.String(), -1)
			return len(lines) == 4
		}, g.stdout)
		var replies []string
		for _, call := range lines[1:] {
			output, err := exec.Command("sh", "-c", lines[0]+call).CombinedOutput()
			require.NoError(t, err, "%s: %s", call, output)
			replies = append(replies, string(output))
		}
		require.Equal(t, []string{state("ready"), started, stopped}, replies, name)
		g.stop(t)
		require.Contains(t, g.stderr.String(), "backend=static", name)
		require.Contains(t, g.stderr.String(), "usage=memory", name)
	}
}
