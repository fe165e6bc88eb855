package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"go.yaml.in/yaml/v3"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// settings are the names of contract §3 as they stand there, with the key in the file,
// the default and another value.
var settings = []struct{ key, standard, flag, env, value string }{
	{"addr", "127.0.0.1:8085", "addr", "BUS_VM_ADDR", "127.0.0.1:1"},
	{"backend", "static", "backend", "BUS_VM_BACKEND", "events"},
	{"events.url", "", "events-url", "BUS_EVENTS_API_URL", "http://a:1"},
	{"billing.backend", "none", "billing-backend", "BUS_VM_BILLING_BACKEND", "events"},
	{"usage.backend", "none", "usage-backend", "BUS_VM_USAGE_BACKEND", "memory"},
	{"timeout", "30s", "timeout", "BUS_VM_TIMEOUT", "5"},
	{"events.token_file", "", "token-file", "BUS_API_TOKEN_FILE", ""}, // a file of the test
	{"log.level", "info", "log-level", "BUS_VM_LOG_LEVEL", "debug"},
	{"log.level", "info", "quiet", "", "error"},
	{"log.level", "info", "verbose", "", "debug"},
	{"events.listener_required", "false", "", "BUS_EVENTS_LISTENER_REQUIRED", "yes"},
	{"events.listener_retry", "true", "", "BUS_EVENTS_LISTENER_RETRY", "off"},
	{"events.listener_retry_min", "1s", "", "BUS_EVENTS_LISTENER_RETRY_MIN", "2s"},
	{"events.listener_retry_max", "30s", "", "BUS_EVENTS_LISTENER_RETRY_MAX", "10s"},
	{"events.token_refresh", "false", "", "BUS_EVENTS_TOKEN_REFRESH", "on"},
	{"socket.mode", "0660", "socket-mode", "BUS_VM_SOCKET_MODE", "0600"},
	{"socket.group", "", "socket-group", "BUS_VM_SOCKET_GROUP", "a"},
	{"server.read_timeout", "10s", "", "BUS_VM_READ_TIMEOUT", "1s"},
	{"server.header_bytes", "16384", "", "BUS_VM_HEADER_BYTES", "8192"},
	{"jwt.leeway", "0s", "jwt-leeway", "BUS_VM_JWT_LEEWAY", "1s"},
	{"static.state", "ready", "static-state", "BUS_VM_STATIC_STATE", "stopped"},
	{"shutdown.delay", "0s", "shutdown-delay", "BUS_VM_SHUTDOWN_DELAY", "1s"},
	{"shutdown.timeout", "70s", "shutdown-timeout", "BUS_VM_SHUTDOWN_TIMEOUT", "1s"},
}

// Each setting has its default, and is set by each of its names: all of them at once. The
// tests of internal/config put each into every two places of which one wins.
func TestSettings(t *testing.T) {
	t.Parallel()
	token := harness.File(t, "token", providerToken)
	var env, flags []string
	file := map[string]any{}
	for _, s := range settings {
		value := cmp.Or(s.value, token)
		if s.env == "" {
			continue // another flag of log.level
		}
		env = append(env, s.env+"="+value)
		if s.flag != "" {
			flags = append(flags, "--"+s.flag, value)
		}
		if section, name, below := strings.Cut(s.key, "."); !below {
			file[s.key] = value
		} else {
			members, _ := file[section].(map[string]any)
			if members == nil {
				members = map[string]any{}
			}
			members[name], file[section] = value, members
		}
	}
	document, err := yaml.Marshal(file)
	require.NoError(t, err)
	for place, c := range map[string]struct{ env, args []string }{
		"default": {}, "environment": {env, nil}, "flag": {nil, flags}, "file": {nil, []string{"--config", harness.File(t, "config.yaml", string(document))}},
	} {
		got := run(t, append(c.env, "BUS_VM_JWT_SECRET="+jwtSecret), append(c.args, "--print-config")...)
		require.Equal(t, 0, got.Code, got.Stderr)
		for _, s := range settings {
			want := cmp.Or(s.value, token)
			if place == "default" || place == "flag" && s.flag == "" {
				want = s.standard
			}
			if s.env != "" {
				require.Equal(t, want, lookUp(t, got.Stdout, s.key), "%s: %s", place, s.key)
			}
		}
	}
}

// lookUp finds a dotted key in printed settings.
func lookUp(t testing.TB, document, key string) string {
	t.Helper()
	var node yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(document), &node))
	for _, name := range strings.Split(key, ".") {
		var members map[string]yaml.Node
		require.NoError(t, node.Decode(&members))
		require.Contains(t, members, name, document)
		node = members[name]
	}
	return node.Value
}

// writeYAML writes a file of one setting.
func writeYAML(t testing.TB, key, value string) string {
	t.Helper()
	text := ""
	for depth, name := range strings.Split(key, ".") {
		text += "\n" + strings.Repeat("  ", depth) + name + ":"
	}
	return harness.File(t, "config.yaml", strings.TrimSpace(text)+" "+value+"\n")
}

// What ships for events mode has readiness wait for the reply streams.
func TestShippedEventsSettings(t *testing.T) {
	t.Parallel()
	shipped, err := os.ReadFile(moduleRoot + "/deploy/debian/config.yaml")
	require.NoError(t, err)
	_, block, _ := strings.Cut(string(shipped), "For the real runtime:\n")
	block, _, _ = strings.Cut(block, "\n# and ")
	got := run(t, []string{"BUS_VM_JWT_SECRET=" + jwtSecret, "BUS_API_TOKEN=" + providerToken}, "--print-config", "--config", harness.File(t, "events.yaml", strings.ReplaceAll("\n"+block, "\n#   ", "\n")))
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Contains(t, got.Stdout, "listener_required: true")
	for file, line := range map[string]string{
		"compose.events.yaml":            `BUS_EVENTS_LISTENER_REQUIRED: "1"`,
		"bus-services/bus/vm/events.yml": "value_from: env:BUS_EVENTS_LISTENER_REQUIRED\n      default: \"true\"",
	} {
		text, err := os.ReadFile(moduleRoot + "/deploy/" + file)
		require.NoError(t, err)
		require.Contains(t, string(text), line)
	}
}

// What the package keeps in its directory is found where nothing else is named, by every
// command that reads settings, and each says so.
func TestFilesOfThePackageAreFound(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	etc, binary := filepath.Join(work, "etc"), filepath.Join(work, "bus-api-provider-vm")
	require.NoError(t, os.Mkdir(etc, 0o755))
	require.NoError(t, harness.Build(moduleRoot, binary, append(harness.RaceFlags(), "-ldflags", "-X github.com/busdk/bus-api-provider-vm/internal/config.PackageDir="+etc)...))
	put := func(name, text string, mode os.FileMode) string {
		require.NoError(t, os.WriteFile(filepath.Join(etc, name), []byte(text), mode))
		return filepath.Join(etc, name)
	}
	in := func(env []string, args ...string) result {
		p := launch(t, nil, env, binary, args...)
		return result{p.wait(t), p.stdout.String(), p.stderr.String()}
	}
	const check, secret = "--check-config", "the-secret-of-the-package-that-is-long-enough"
	require.Contains(t, in(nil, check).Stderr, "no secret to verify tokens with", "nothing is there")

	config := put("config.yaml", "static: {state: hibernated}\naddr: 127.0.0.1:0\n", 0o644)
	secrets, token := put("jwt-secret", secret+"\n", 0o600), put("api-token", providerToken, 0o600)
	found := "bus-api-provider-vm: found " + config + ", " + token + ", " + secrets + "\n"
	require.Equal(t, result{0, "configuration ok\n", found}, in(nil, check))
	printed := in(nil, "--print-config")
	require.Equal(t, found, printed.Stderr)
	require.Contains(t, printed.Stdout, "state: hibernated # file "+config+" line 1\n")
	require.Contains(t, printed.Stdout, "secret_file: "+secrets+" # found in "+etc+"\n")
	examined := in(nil, "doctor")
	require.Equal(t, 0, examined.Code, examined)
	require.Contains(t, examined.Stdout, "ok    settings        found "+config+", "+token+", "+secrets+"\n")
	minted := in(nil, "token", "--scope", "vm:read")
	require.Equal(t, found, minted.Stderr)
	g := &gateway{process: launch(t, nil, nil, binary)}
	t.Cleanup(func() { g.stop(t) })
	await(t, g)
	require.Contains(t, g.stderr.String(), `files="`+config+", "+token+", "+secrets+"\"\n")
	require.Equal(t, showing(state("hibernated"), ""), ask(t, g.addr, request("GET "+statusPath, strings.TrimSpace(minted.Stdout))))

	// What is named wins, wherever, and is all that counts of its kind.
	own := harness.File(t, "own", jwtSecret)
	for _, named := range []struct {
		env, args []string
		found     string
		want      string
	}{
		{[]string{"BUS_VM_JWT_SECRET=" + jwtSecret}, nil, config + ", " + token, "secret: '[redacted]'"},
		{[]string{"BUS_API_JWT_SECRET=" + jwtSecret}, nil, config + ", " + token, "secret: '[redacted]'"},
		{[]string{"BUS_VM_JWT_SECRET_FILE=" + own}, nil, config + ", " + token, "secret_file: " + own},
		{nil, []string{"--jwt-secret-file", own}, config + ", " + token, "secret_file: " + own},
		{nil, []string{"--config", harness.File(t, "own.yaml", "jwt: {secret_file: "+own+"}")}, token, "secret_file: " + own},
		{[]string{"BUS_VM_CONFIG=" + harness.File(t, "own.yaml", "static: {state: away}")}, nil, token + ", " + secrets, "state: away"},
		{nil, []string{"--config="}, token + ", " + secrets, "state: ready # default"},
		{[]string{"BUS_API_TOKEN=" + providerToken}, nil, config + ", " + secrets, "token: '[redacted]'"},
		{[]string{"BUS_EVENTS_TOKEN_FILE=" + own}, nil, config + ", " + secrets, "token_file: " + own},
		{[]string{"CREDENTIALS_DIRECTORY=" + filepath.Dir(own)}, nil, config + ", " + token + ", " + secrets, ""},
	} {
		got := in(named.env, append(named.args, "--print-config")...)
		require.Equal(t, "bus-api-provider-vm: found "+named.found+"\n", got.Stderr, named)
		require.Contains(t, got.Stdout, named.want, named)
	}

	// A file that was found and is gone is missed, as one that is named: the secret of the
	// package, which the file of settings had replaced, does not come back instead.
	put("config.yaml", "addr: 127.0.0.1:0\njwt: {secret_file: "+own+"}\n", 0o644)
	asked := request("GET "+statusPath, strings.TrimSpace(minted.Stdout))
	v := &gateway{process: launch(t, nil, nil, binary)}
	t.Cleanup(func() { v.stop(t) })
	await(t, v)
	require.Contains(t, ask(t, v.addr, asked), "401 Unauthorized")
	require.NoError(t, os.Remove(config))
	harness.Eventually(t, "reload failed", func() bool { return strings.Contains(v.stderr.String(), "reload failed") })
	require.Contains(t, v.stderr.String(), "no such file or directory")
	require.Contains(t, ask(t, v.addr, asked), "401 Unauthorized")
	put("config.yaml", "addr: 127.0.0.1:0\nlog: {level: debug}\njwt: {secret_file: "+own+"}\n", 0o644)
	harness.Eventually(t, "reloaded", func() bool { return strings.Contains(v.stderr.String(), "msg=reloaded") })

	// So is one that is a link to nothing: the defaults are no settings of anyone.
	require.NoError(t, os.Rename(config, config+".away"))
	require.NoError(t, os.Symlink("nowhere", config))
	require.Contains(t, in(nil, check).Stderr, "(found in "+etc+"): \""+config+"\": no such file or directory")
	require.NoError(t, os.Remove(config))

	// With --dev nothing of it counts: the published secret signs, the static backend answers.
	put("config.yaml", "backend: events", 0o644)
	require.Equal(t, result{0, "configuration ok\n", ""}, in(nil, "--dev", check))
	require.Contains(t, in(nil, check).Stderr, "events.url: is needed by backend = events")
}
