//go:build ship

package ship

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// No systemd runs here, so the sandbox is compared with what the service does:
// its system calls, the kinds of its sockets, and its memory, traced while it
// starts, serves, reloads, records usage on disk and ends.
func TestServiceKeepsWithinItsSandbox(t *testing.T) {
	const file = name + ".service"
	calls := traced(t)
	require.Greater(t, len(calls), 200)

	allowed := filtered(t, setting(t, file, "SystemCallFilter"))
	families := strings.Fields(setting(t, file, "RestrictAddressFamilies")[0])
	require.Equal(t, []string{"yes"}, setting(t, file, "MemoryDenyWriteExecute"))
	refused := map[string]bool{}
	for _, call := range calls {
		name, arguments, _ := strings.Cut(call, "(")
		if !allowed[name] {
			refused[name] = true
		}
		if name == "socket" {
			family, _, _ := strings.Cut(arguments, ",")
			require.Contains(t, families, family, call)
		}
		if name == "mmap" || name == "mprotect" {
			require.False(t, strings.Contains(call, "PROT_EXEC") && strings.Contains(call, "PROT_WRITE"), call)
		}
	}
	require.Empty(t, refused)
}

// tracedCall is a line "PID name(arguments) = result" or the first half of one;
// others resume a call, show a signal, or a call that a kill cut off (syscall_0x…).
var tracedCall = regexp.MustCompile(`(?m)^[0-9]+ +([a-z0-9_]+\(.*)$`)

// traced returns the system calls of a whole life of the packaged binary.
func traced(t *testing.T) []string {
	t.Helper()
	root, work := unpacked(t), t.TempDir()
	trace := filepath.Join(work, "trace")
	addr := filepath.Join(work, "api.sock")
	p, err := platform.Start(platform.Config{Secret: secret})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	command := exec.Command("strace", "-f", "-qq", "-o", trace, filepath.Join(root, "usr/bin", name),
		"--addr", "unix:"+addr, "--admin-addr", "127.0.0.1:0", "--usage-backend", "events", "--backend", "events",
		"--billing-backend", "events", "--events-url", p.URL())
	command.Env = []string{"BUS_VM_JWT_SECRET=" + secret, "BUS_API_TOKEN=" + p.ProviderToken(), "STATE_DIRECTORY=" + work}
	log := &logged{}
	command.Stderr = log
	require.NoError(t, command.Start())
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", addr)
	}}
	status := func(method, path string) int {
		request, err := http.NewRequest(method, "http://localhost"+path, nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+p.CallerToken("7c9e6679-7425-40de-944b-e07fc1f90ae7", "vm:read vm:write"))
		reply, err := transport.RoundTrip(request)
		if err != nil {
			return 0 // it does not listen yet
		}
		_ = reply.Body.Close()
		return reply.StatusCode
	}
	eventually(t, "ready", func() bool { return status("GET", "/readyz") == 200 })
	require.Equal(t, 200, status("GET", "/api/v1/vm/status"))
	require.Equal(t, 202, status("POST", "/api/v1/vm/start"))
	child := onlyChild(t, command.Process.Pid)
	require.NoError(t, child.Signal(syscall.SIGHUP))
	eventually(t, "the reload", func() bool { return strings.Contains(log.String(), "why=SIGHUP") })
	require.NoError(t, child.Signal(syscall.SIGTERM))
	require.NoError(t, command.Wait(), log.String())

	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	var calls []string
	for _, match := range tracedCall.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(match[1], "syscall_") {
			calls = append(calls, match[1])
		}
	}
	return calls
}

// filtered expands SystemCallFilter= with the groups of the installed systemd.
func filtered(t *testing.T, filters []string) map[string]bool {
	t.Helper()
	allowed := map[string]bool{}
	var expand func(group string) []string
	expand = func(group string) (calls []string) {
		for line := range strings.Lines(output(t, "systemd-analyze", "syscall-filter", group)) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "#"), line == "", line == group:
			case strings.HasPrefix(line, "@"):
				calls = append(calls, expand(line)...)
			default:
				calls = append(calls, line)
			}
		}
		return calls
	}
	for _, filter := range filters {
		deny := strings.HasPrefix(filter, "~")
		for _, word := range strings.Fields(strings.TrimPrefix(filter, "~")) {
			calls := []string{word}
			if strings.HasPrefix(word, "@") {
				calls = expand(word)
			}
			for _, call := range calls {
				allowed[call] = !deny
			}
		}
	}
	require.True(t, allowed["read"])
	require.False(t, allowed["reboot"])
	return allowed
}
