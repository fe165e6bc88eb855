package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
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

// The token command mints what the gateway with the same secret takes.
func TestTokenCommand(t *testing.T) {
	t.Parallel()
	env := []string{"BUS_VM_JWT_SECRET=" + jwtSecret}
	g := serve(t, nil)
	const developer = "00000000-0000-4000-8000-000000000001"
	for _, c := range []struct {
		args              []string
		sub, aud, scope   string
		ttl               time.Duration
		toRead, toStartIt string
	}{
		{[]string{"--scope", "vm:read vm:write"}, developer, "ai.hg.fi/api", "vm:read vm:write", time.Hour, okStatus, okStart},
		{
			[]string{"--scope=vm:read", "--sub", "3f0e7a5c-0d0b-4a8e-9d5a-0a7c2f3b4d5e", "--ttl", "5m"},
			"3f0e7a5c-0d0b-4a8e-9d5a-0a7c2f3b4d5e", "ai.hg.fi/api", "vm:read", 5 * time.Minute, okStatus, lacking("vm:write"),
		},
		{
			[]string{"--scope", "vm:write", "--ttl", "90", "--audience", "another"},
			developer, "another", "vm:write", 90 * time.Second, invalidToken, invalidToken,
		},
	} {
		before := time.Now().Truncate(time.Second)
		got := run(t, env, append([]string{"token"}, c.args...)...)
		require.Equal(t, 0, got.Code, got.Stderr)
		require.Empty(t, got.Stderr)
		token := strings.TrimSuffix(got.Stdout, "\n")
		claims := claimsOf(t, token)
		issued := time.Unix(int64(claims["iat"].(float64)), 0)
		require.False(t, issued.Before(before), "issued at %s", issued)
		require.Equal(t, map[string]any{
			"sub": c.sub, "aud": c.aud, "scope": c.scope,
			"iat": float64(issued.Unix()), "exp": float64(issued.Add(c.ttl).Unix()),
		}, claims)
		require.Equal(t, c.toRead, ask(t, g.addr, request("GET "+statusPath, token)))
		require.Equal(t, c.toStartIt, ask(t, g.addr, request("POST "+startPath, token)))
	}
}

// The seed's way to a token for a static provider: one secret on both sides.
func TestTokenCommandKnowsTheDevelopmentSecret(t *testing.T) {
	t.Parallel()
	got := run(t, nil, "token", "--dev", "--scope", "vm:read")
	require.Equal(t, 0, got.Code, got.Stderr)
	g := serve(t, []string{"BUS_VM_JWT_SECRET="}, "--dev")
	require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, strings.TrimSpace(got.Stdout))))
}

// A library that is linked in must not speak where a control group has no
// pressure files: commands print results that programs read.
func TestCommandsAreQuietWithoutPressureFiles(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // only root may mount
	}
	harness.Needs(t, "unshare")
	p := launch(t, nil, nil, "unshare", "--mount", "sh", "-c", `echo 0::/no-such-group >group && mount --bind group /proc/$$/cgroup && exec "$0" version`, program(t))
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

func TestHelpForTheDispatcher(t *testing.T) {
	t.Parallel()
	text := askPromptly(t, "help")
	require.Equal(t, text, askPromptly(t, "help", "--format", "text"))
	require.Equal(t, text, askPromptly(t, "--help"))
	document := askPromptly(t, "help", "--format", "opencli")
	require.Equal(t, document, askPromptly(t, "help", "--format=json"))

	var got struct {
		OpenCLI  string
		Info     struct{ Title, Version, Summary, Description string }
		Commands []struct {
			Name, Summary, Usage string
			Arguments            []any
			Options              []struct{ Name, Description string }
			Examples             []any
			ExitCodes            []struct{ Code int }
		}
		Metadata map[string]struct{ Variables []struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal([]byte(document), &got))
	require.Regexp(t, `^0\.1(\.|$)`, got.OpenCLI)
	require.Equal(t, "bus-api-provider-vm", got.Info.Title)
	require.NotContains(t, []string{got.Info.Version, got.Info.Summary, got.Info.Description}, "")
	options, variables := map[string]bool{}, map[string]bool{}
	for _, command := range got.Commands {
		require.NotContains(t, []string{command.Name, command.Summary, command.Usage}, "")
		require.NotNil(t, command.Arguments, command.Name)
		require.NotEmpty(t, command.Examples, command.Name)
		require.Len(t, command.ExitCodes, 3, command.Name)
		for _, option := range command.Options {
			require.NotEmpty(t, option.Description, option.Name)
			options[option.Name] = true
		}
	}
	for _, variable := range got.Metadata["io.busdk.environment"].Variables {
		variables[variable.Name] = true
	}
	// Every name of contract §3 is in the document and in the help.
	for _, s := range settings {
		if s.flag != "" {
			require.True(t, options["--"+s.flag], s.flag)
			require.Contains(t, text, "--"+s.flag)
		}
		if s.env != "" {
			require.True(t, variables[s.env], s.env)
			require.Contains(t, text, s.env)
		}
	}
	for _, name := range []string{"BUS_VM_JWT_SECRET", "BUS_API_JWT_SECRET", "BUS_API_TOKEN", "BUS_EVENTS_TOKEN_FILE"} {
		require.True(t, variables[name], name)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	line := askPromptly(t, "--version")
	require.Regexp(t, `^bus-api-provider-vm \S+ \(go1\.\S+ \w+/\w+\)\n$`, line)
	require.Equal(t, line, askPromptly(t, "version"))
}

// What the platform's dispatcher passes on in front of the command does what it
// says there and behind it.
func TestGlobalFlags(t *testing.T) {
	t.Parallel()
	env := []string{"BUS_VM_JWT_SECRET=" + jwtSecret}
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(directory+"/settings.yaml", []byte("static:\n  state: hibernated\n"), 0o600))
	inFront := []string{"--color", "never", "--no-color", "--trace", "-v", "-C", directory, "--output", "result", "-f", "json"}
	api, err := os.ReadFile(moduleRoot + "/routes/openapi.json")
	require.NoError(t, err)
	for _, c := range []struct {
		args []string
		want string // a part of the result
	}{
		{[]string{"openapi"}, string(api)},
		{[]string{"token", "--scope", "vm:read"}, "eyJ"},
		{[]string{"version"}, "bus-api-provider-vm "},
		{[]string{"help"}, `"opencli"`},
		{[]string{"--config", "settings.yaml", "--print-config"}, "state: hibernated # file settings.yaml line 2\n"},
		{[]string{"doctor", "--addr", "127.0.0.1:0"}, `"result"`},
	} {
		for _, args := range [][]string{slices.Concat(inFront, c.args), slices.Concat(c.args, inFront)} {
			got := run(t, env, args...)
			require.Equal(t, 0, got.Code, "%q: %s", args, got.Stderr)
			require.Empty(t, got.Stdout, args)
			result, err := os.ReadFile(directory + "/result")
			require.NoError(t, err)
			require.Contains(t, string(result), c.want, args)
			require.NoError(t, os.Remove(directory+"/result"))
		}
	}
	quiet := run(t, env, "-q", "-o", directory+"/result", "token", "--scope", "vm:read")
	require.Equal(t, result{}, quiet)
	require.NoFileExists(t, directory+"/result")
	for _, args := range []string{"-C /nonexistent version", "openapi -o /nonexistent/x", "token --scope x -o /dev/full"} {
		require.Equal(t, 1, run(t, env, strings.Fields(args)...).Code, args)
	}
	for _, args := range []string{"--color pink version", "version -f xml", "doctor -f opencli", "-q -v version"} {
		require.Equal(t, 2, run(t, env, strings.Fields(args)...).Code, args)
	}
	require.Equal(t, run(t, nil, "version").Stdout, run(t, nil, "-f", "xml", "doctor", "-C", "/nonexistent", "-V").Stdout)

	g := serve(t, []string{"BUS_VM_LOG_LEVEL=warn"}, "-C", directory, "--trace", "--config", "settings.yaml")
	require.Equal(t, showing(state("hibernated"), ""), ask(t, g.addr, request("GET "+statusPath, mint("vm:read"))))
	g.stop(t)
	require.Contains(t, g.stderr.String(), "source=")
}
