package e2e

import (
	"encoding/json"
	"iter"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// devSecret is the platform's published secret for development.
const devSecret = "not-a-secret-local-development-hs256-key"

var servingDebug = regexp.MustCompile(`level=DEBUG`)

// jsonLines decodes a log of one object a line.
func jsonLines(t testing.TB, log string) iter.Seq[map[string]any] {
	return func(yield func(map[string]any) bool) {
		for line := range strings.Lines(log) {
			var object map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &object), line)
			if !yield(object) {
				return
			}
		}
	}
}

// The one-command start: what it prints is run as it is printed, line by line,
// the way a newcomer pastes it.
func TestDevPrintsCallsThatWork(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "curl")
	for _, c := range []struct {
		name string
		env  []string
		args []string
	}{
		{"as it comes", []string{"BUS_VM_JWT_SECRET="}, nil},
		{"another secret", nil, nil},
		{"IPv6", nil, []string{"--addr", "[::1]:0"}},
		{"unix socket", nil, []string{"--addr", "unix:" + t.TempDir() + "/vm.sock"}},
	} {
		if c.name == "IPv6" && !hasIPv6() {
			continue
		}
		g := serve(t, c.env, append([]string{"--dev"}, c.args...)...)
		harness.Eventually(t, "a greeting", func() bool { return strings.Count(g.stdout.String(), "\ncurl ") == 3 })
		assignment, calls := devGreeting(t, g.stdout.String())
		var replies []string
		for _, call := range calls {
			output, err := exec.Command("sh", "-c", assignment+"\n"+call).CombinedOutput()
			require.NoError(t, err, "%s: %s", call, output)
			replies = append(replies, string(output))
		}
		require.Equal(t, []string{state("ready"), started, stopped}, replies, c.name)
		g.stop(t)
		require.Contains(t, g.stderr.String(), "backend=static", c.name)
		require.Contains(t, g.stderr.String(), "usage=memory", c.name)
	}
}

// devGreeting cuts the assignment and the curl lines out of what --dev prints.
func devGreeting(t testing.TB, text string) (assignment string, calls []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "TOKEN="):
			assignment = line
		case strings.HasPrefix(line, "curl "):
			calls = append(calls, line)
		}
	}
	require.NotEmpty(t, assignment, text)
	return assignment, calls
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	return err == nil && l.Close() == nil
}

// Without a word about the address it is the one of the documents.
func TestDevDefaults(t *testing.T) {
	t.Parallel()
	got := run(t, nil, "--dev", "--print-config")
	require.Equal(t, 0, got.Code, got.Stderr)
	for key, want := range map[string]string{
		"addr": "127.0.0.1:8085", "backend": "static", "usage.backend": "memory", "billing.backend": "none", "jwt.secret": "[redacted]",
	} {
		require.Equal(t, want, lookUp(t, got.Stdout, key), key)
	}
	require.NotContains(t, got.Stdout, devSecret)
}
