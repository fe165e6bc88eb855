package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// requireExit expects a message that begins with the program's name, says all
// of want, and is no more than a few lines: never a trace.
func requireExit(t testing.TB, code int, got result, want ...string) {
	t.Helper()
	require.Equal(t, code, got.Code, got.Stderr)
	require.Empty(t, got.Stdout)
	require.True(t, strings.HasPrefix(got.Stderr, "bus-api-provider-vm: "), got.Stderr)
	require.NotContains(t, got.Stderr, "goroutine")
	require.NotContains(t, got.Stderr, ".go:")
	for _, text := range want {
		require.Contains(t, got.Stderr, text)
	}
}

// Wrong usage ends with exit code 2 and names the setting, where its value
// came from, and the value unless it may be a secret. The tests of internal/config and
// internal/cli have every setting and flag.
func TestWrongSettingsEndWithTwo(t *testing.T) {
	t.Parallel()
	secret := []string{"BUS_VM_JWT_SECRET=" + jwtSecret}
	tab := harness.File(t, "tab.yaml", "log:\n\tlevel: info\n")
	for _, c := range []struct {
		env  []string
		args string
		want string
	}{
		{secret, "--addr 8085", `addr (flag --addr): "8085"`},
		{append(secret, "BUS_VM_BACKEND=none"), "", `backend (environment BUS_VM_BACKEND): "none"`},
		{secret, "--config " + tab, "file " + tab + " line 2: a tab cannot indent YAML; want spaces"},
		{[]string{"BUS_VM_JWT_SECRET=base64:%%swordfish"}, "", "jwt.secret (environment BUS_VM_JWT_SECRET): what follows base64: is not base64"},
		{secret, "--adr :1", `unknown flag "--adr"; did you mean --addr?`},
		{secret, "-addr :1", "flag -addr has one dash; use --addr"},
		{secret, "tokn", `unknown command "tokn"; did you mean token?`},
		{secret, "--addr :1 token --scope x", "--addr: is a flag of serving, doctor, usage; not of token"},
	} {
		for _, check := range []string{"", "--check-config "} {
			if check != "" && c.args != "" && c.args[0] != '-' {
				continue // commands have no such flag
			}
			got := run(t, c.env, strings.Fields(check+c.args)...)
			requireExit(t, 2, got, c.want)
			require.NotContains(t, got.Stderr, "swordfish")
		}
	}
}

// All that is wrong is said at once.
func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	file := writeYAML(t, "shutdown.delay", "never")
	got := run(t, []string{"BUS_VM_TIMEOUT=soon"}, "--config", file, "--backend", "real", "--colour")
	requireExit(t, 2, got,
		"5 problems with the settings\n", `unknown flag "--colour"`, `backend (flag --backend): "real"`,
		`timeout (environment BUS_VM_TIMEOUT): "soon"`, "shutdown.delay (file "+file+` line 2): "never"`, "jwt.secret: no secret")
}

// What fails only when it is tried ends with exit code 1 and one line.
func TestFailureToServeEndsWithOne(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	regular := harness.File(t, "regular", "")
	for addr, want := range map[string]string{
		taken.Addr().String():              "bus-api-provider-vm: --addr: listen on " + taken.Addr().String() + ": bind: address already in use; ",
		"192.0.2.1:0":                      "--addr: listen on 192.0.2.1:0",
		"unix:" + regular:                  regular + " exists and is no socket",
		"unix:/nonexistent/directory.sock": "no such file or directory",
	} {
		got := run(t, []string{"BUS_VM_JWT_SECRET=" + jwtSecret}, "--addr", addr)
		requireExit(t, 1, got, want)
		require.Equal(t, 1, strings.Count(got.Stderr, "\n"), got.Stderr)
	}
}

// A file that its file system cannot read is no mistake in the settings, unless one
// is there besides.
func TestUnreadableFilesEndWithOne(t *testing.T) {
	t.Parallel()
	const failing = "/proc/self/mem" // nothing is at its beginning
	for _, args := range [][]string{{"--config", failing}, {"--jwt-secret-file", failing}, {"--jwks-file", failing}} {
		got := run(t, nil, args...)
		requireExit(t, 1, got, "input/output error")
		require.Equal(t, 1, strings.Count(got.Stderr, "\n"), got.Stderr)
		requireExit(t, 2, run(t, nil, append(args, "--colour")...), "input/output error")
	}
	// What a command passes over does not count.
	requireExit(t, 2, run(t, nil, "usage", "list", "--jwks-file", failing, "--store-url", "mysql://db"), "store.url")
}
