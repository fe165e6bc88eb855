//go:build ship

package ship

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// No systemd runs here, so the sandbox is compared with what the service does:
// its system calls, the kinds of its sockets, and its memory, traced while it
// starts, serves, reloads, records usage on disk and ends.
func TestServiceKeepsWithinItsSandbox(t *testing.T) {
	calls := traced(t)
	require.Greater(t, len(calls), 200)

	allowed := filtered(t, setting(t, "SystemCallFilter"))
	families := strings.Fields(setting(t, "RestrictAddressFamilies")[0])
	require.Equal(t, []string{"yes"}, setting(t, "MemoryDenyWriteExecute"))
	refused := map[string]bool{}
	for _, call := range calls {
		name, arguments, _ := strings.Cut(call, "(")
		if !allowed[name] && name != "fchown" { // which SQLite calls as root alone, and the service is not
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
	log := &harness.Output{}
	command.Stderr = log
	require.NoError(t, command.Start())
	token := p.CallerToken("7c9e6679-7425-40de-944b-e07fc1f90ae7", "vm:read vm:write")
	curl := func(path string, flags ...string) error {
		return exec.Command("curl", append(flags, "-sf", "--unix-socket", addr, "-H", "Authorization: Bearer "+token, "http://vm"+path)...).Run()
	}
	harness.Eventually(t, "ready", func() bool { return curl("/readyz") == nil }, log)
	require.NoError(t, curl("/api/v1/vm/status"))
	require.NoError(t, curl("/api/v1/vm/start", "-X", "POST"))
	child := onlyChild(t, command.Process.Pid)
	require.NoError(t, child.Signal(syscall.SIGHUP))
	harness.Eventually(t, "the reload", func() bool { return strings.Contains(log.String(), "why=SIGHUP") }, log)
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

// setting returns the values of a setting of the service, in their order.
func setting(t testing.TB, name string) (values []string) {
	t.Helper()
	text, err := os.ReadFile(inRoot(t, "deploy/systemd/bus-api-provider-vm.service"))
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		values = append(values, match[1])
	}
	return values
}

// filtered expands SystemCallFilter= with the groups of the installed systemd.
func filtered(t *testing.T, filters []string) map[string]bool {
	t.Helper()
	allowed := map[string]bool{}
	var set func(word string, to bool)
	set = func(word string, to bool) {
		if !strings.HasPrefix(word, "@") {
			allowed[word] = to
			return
		}
		for line := range strings.Lines(output(t, "systemd-analyze", "syscall-filter", word)) {
			line = strings.TrimSpace(line)
			if line != "" && line != word && !strings.HasPrefix(line, "#") {
				set(line, to)
			}
		}
	}
	for _, filter := range filters {
		words, deny := strings.CutPrefix(filter, "~")
		for _, word := range strings.Fields(words) {
			set(word, !deny)
		}
	}
	require.True(t, allowed["read"])
	require.False(t, allowed["reboot"])
	return allowed
}
