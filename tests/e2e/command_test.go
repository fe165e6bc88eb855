package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// claimsOf decodes the claims of a token.
func claimsOf(t testing.TB, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &claims))
	return claims
}

// A library that is linked in must not speak where a control group has no
// pressure files: commands print results that programs read.
func TestCommandsAreQuietWithoutPressureFiles(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // only root may mount
	}
	harness.Needs(t, "unshare")
	p := launch(t, nil, nil, "unshare", "--mount", "sh", "-c", `echo 0::/no-such-group >group && mount --bind group /proc/$$/cgroup && exec "$0" version`, harness.Gateway(t))
	require.Equal(t, 0, p.wait(t))
	require.NotEmpty(t, p.stdout.String())
	require.Empty(t, p.stderr.String())
}

// promptly is how long the dispatcher waits for metadata.
const promptly = 500 * time.Millisecond

// askPromptly runs a command that must be fast and must not listen, where nothing
// could be served. The best of three counts: the machine may be busy with other
// tests.
func askPromptly(t testing.TB, args ...string) string {
	t.Helper()
	socket := t.TempDir() + "/vm.sock"
	misleading := []string{
		"BUS_VM_ADDR=unix:" + socket, "BUS_VM_CONFIG=/nonexistent.yaml", "BUS_VM_BACKEND=unknown", "BUS_VM_TIMEOUT=never",
		"BUS_EVENTS_API_URL=http://127.0.0.1:8081/local/v1", "BUS_EVENTS_TOKEN_FILE=.bus/tokens/local-events.jwt",
	}
	best := time.Hour
	var got result
	for range 3 {
		began := time.Now()
		got = run(t, misleading, args...)
		best = min(best, time.Since(began))
	}
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Empty(t, got.Stderr)
	require.Less(t, best, promptly)
	require.NoFileExists(t, socket)
	return got.Stdout
}

// The tests of internal/cli have what the texts say.
func TestHelpForTheDispatcher(t *testing.T) {
	t.Parallel()
	text := askPromptly(t, "help")
	require.Equal(t, text, askPromptly(t, "--help"))
	document := askPromptly(t, "help", "--format", "opencli")
	require.Equal(t, document, askPromptly(t, "help", "--format=json"))
	// Every name of contract §3 is in both.
	for _, s := range settings {
		for _, name := range []string{"--" + s.flag, s.env} {
			require.Contains(t, text, name)
			require.Contains(t, document, `"`+name)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	line := askPromptly(t, "--version")
	require.Regexp(t, `^bus-api-provider-vm \S+ \(go1\.\S+ \w+/\w+\)\n$`, line)
	require.Equal(t, line, askPromptly(t, "version"))
}

// What the platform's dispatcher passes on in front of the command counts.
func TestGlobalFlags(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(directory+"/settings.yaml", []byte("static:\n  state: hibernated\n"), 0o600))
	g := serve(t, []string{"BUS_VM_LOG_LEVEL=warn"}, "-C", directory, "--trace", "--config", "settings.yaml")
	require.Equal(t, showing(state("hibernated"), ""), ask(t, g.addr, request("GET "+statusPath, mint("vm:read"))))
	g.stop(t)
	require.Contains(t, g.stderr.String(), "source=")

	api, err := os.ReadFile(moduleRoot + "/routes/openapi.json")
	require.NoError(t, err)
	require.Equal(t, result{}, run(t, nil, "-C", directory, "--color", "never", "-o", "document", "openapi"))
	document, err := os.ReadFile(directory + "/document")
	require.NoError(t, err)
	require.Equal(t, string(api), string(document))
}

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
