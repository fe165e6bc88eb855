package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// Two more secrets, so that one can take over from the other.
const (
	oldSecret = "the old secret of the reload tests, 40 bytes"
	newSecret = "the new secret of the reload tests, 40 bytes"
)

// noSecret takes the secret out of the environment of a gateway.
const noSecret = "BUS_VM_JWT_SECRET="

func signedBy(secret string) string {
	logged.keepOut(secret)
	return hostile.Sign(secret, hostile.DefaultHeader, hostile.GoodClaims(time.Now()).String())
}

// accepts reports whether a status read with token is answered.
func (g *gateway) accepts(t testing.TB, token string) bool {
	t.Helper()
	got := ask(t, g.addr, request("GET "+statusPath, token))
	if got != okStatus {
		require.Equal(t, invalidToken, got)
	}
	return got == okStatus
}

// hangUp sends SIGHUP and waits until the gateway says that it has reloaded,
// well or not.
func (g *gateway) hangUp(t testing.TB) {
	t.Helper()
	before := g.reloads()
	g.signal(t, syscall.SIGHUP)
	harness.Eventually(t, "reloaded", func() bool { return g.reloads() > before })
}

func (g *gateway) reloads() int {
	return strings.Count(g.stderr.String(), "why=SIGHUP") + strings.Count(g.stderr.String(), `why="a file changed"`)
}

// Secrets roll over while callers of both are served: no caller is refused before
// the old secret is taken out, and its callers are refused at once then.
func TestSecretsRollOver(t *testing.T) {
	t.Parallel()
	file := harness.File(t, "secrets", oldSecret+"\n")
	g := serve(t, []string{noSecret}, "--jwt-secret-file", file)
	before, after := signedBy(oldSecret), signedBy(newSecret)
	require.True(t, g.accepts(t, before))
	require.False(t, g.accepts(t, after))

	// A caller whose secret stands all the time notices nothing.
	served, stopLoad := startLoad(g.addr, kept, exchange{request("GET "+statusPath, before), []string{okStatus}})
	for range 20 {
		harness.Replace(t, file, "# both\n"+newSecret+"\n"+oldSecret+"\n")
		g.hangUp(t)
		require.True(t, g.accepts(t, before) && g.accepts(t, after))
		harness.Replace(t, file, oldSecret)
		g.hangUp(t)
		require.True(t, g.accepts(t, before) && !g.accepts(t, after))
	}
	require.NoError(t, stopLoad())
	require.NotZero(t, served())

	harness.Replace(t, file, newSecret)
	g.hangUp(t)
	require.True(t, g.accepts(t, after))
	require.False(t, g.accepts(t, before), "a remembered token outlived its secret")
}

// Without a signal, a changed file is followed wherever it is. The tests of internal/app
// have each way in which one changes.
func TestChangedFilesAreFollowed(t *testing.T) {
	t.Parallel()
	mounted := func(t *testing.T) string { // as Kubernetes mounts a secret
		directory := t.TempDir()
		for version, secret := range map[string]string{"..1": oldSecret, "..2": newSecret} {
			require.NoError(t, os.Mkdir(filepath.Join(directory, version), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(directory, version, "secret"), []byte(secret), 0o600))
		}
		require.NoError(t, os.Symlink("..1", filepath.Join(directory, "..data")))
		require.NoError(t, os.Symlink("..data/secret", filepath.Join(directory, "secret")))
		return filepath.Join(directory, "secret")
	}
	plain := func(t *testing.T) string { return harness.File(t, "jwt-secret", oldSecret) }
	byPath := func(path string) string { return "BUS_VM_JWT_SECRET_FILE=" + path }
	for name, tc := range map[string]struct {
		make   func(t *testing.T) string
		env    func(path string) string
		change func(t *testing.T, path string)
	}{
		"a switched link": {mounted, byPath, func(t *testing.T, path string) {
			fresh := filepath.Join(filepath.Dir(path), "..data_tmp")
			require.NoError(t, os.Symlink("..2", fresh))
			require.NoError(t, os.Rename(fresh, filepath.Join(filepath.Dir(path), "..data")))
		}},
		"a systemd credential": {
			plain,
			func(path string) string { return "CREDENTIALS_DIRECTORY=" + filepath.Dir(path) },
			func(t *testing.T, path string) {
				require.NoError(t, os.Remove(path))
				require.NoError(t, os.WriteFile(path, []byte(newSecret), 0o400))
			},
		},
		"the YAML file": {
			func(t *testing.T) string { return writeYAML(t, "jwt.secret", oldSecret) },
			func(path string) string { return "BUS_VM_CONFIG=" + path },
			func(t *testing.T, path string) { harness.Replace(t, path, "jwt:\n  secret: "+newSecret+"\n") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tc.make(t)
			g := serve(t, []string{noSecret, tc.env(path)})
			before, after := signedBy(oldSecret), signedBy(newSecret)
			require.True(t, g.accepts(t, before))
			tc.change(t, path)
			harness.Eventually(t, "followed", func() bool { return g.accepts(t, after) })
			require.False(t, g.accepts(t, before))
		})
	}
}

// What is wrong changes nothing, is told in one line and shows in a metric; a
// mistake in one file does not keep another from being followed.
func TestBadReloadsKeepTheLastGood(t *testing.T) {
	t.Parallel()
	secrets, settings := harness.File(t, "secrets", oldSecret), harness.File(t, "config.yaml", "log: {level: debug}\n")
	g, admin := serveAdmin(t, []string{noSecret}, "--jwt-secret-file", secrets, "--config", settings)
	before, after := signedBy(oldSecret), signedBy(newSecret)
	success := func() float64 { return measure(t, admin, "bus_vm_reload_success") }
	require.Equal(t, 1., success())
	for text, cause := range map[string]string{
		"":                    "the file holds no secret",
		"x\nbase64:hunter2!!": "line 2 of the file: what follows base64: is not base64",
	} {
		harness.Replace(t, secrets, text)
		g.hangUp(t)
		require.Contains(t, g.stderr.String(), cause)
		require.Zero(t, success())
		require.True(t, g.accepts(t, before))
	}
	require.NotContains(t, g.stderr.String(), "hunter2")
	require.Equal(t, 2, strings.Count(g.stderr.String(), "level=ERROR"), "%s", g.stderr)
	require.Contains(t, g.stderr.String(), `do="put right what the cause names`)

	harness.Replace(t, settings, "no_such: 1\n")
	harness.Replace(t, secrets, newSecret)
	g.hangUp(t)
	require.Contains(t, g.stderr.String(), `unknown key \"no_such\"`)
	require.Zero(t, success())
	require.True(t, g.accepts(t, after), "a slip in the settings held up a secret")
	require.False(t, g.accepts(t, before))

	harness.Replace(t, settings, "")
	g.hangUp(t)
	require.Equal(t, 1., success())
}

// The level of the log follows the file; what does not is named.
func TestReloadableSettings(t *testing.T) {
	t.Parallel()
	file := harness.File(t, "config.yaml", "log: {level: info}\n")
	g := serve(t, []string{"BUS_VM_LOG_LEVEL="}, "--config", file)
	refusals := func() int {
		require.False(t, g.accepts(t, signedBy("another secret, at least 32 bytes long")))
		g.hangUp(t) // its line comes behind those of the refusal
		return strings.Count(g.stderr.String(), "token refused")
	}
	require.Equal(t, 0, refusals())
	harness.Replace(t, file, "log: {level: debug}\n")
	g.hangUp(t)
	require.Equal(t, 1, refusals())
	require.NotContains(t, g.stderr.String(), "restart")

	harness.Replace(t, file, "log: {level: info, format: json}\ntimeout: 7s\nstatic: {state: stopped}\n")
	g.hangUp(t)
	require.Equal(t, 1, refusals())
	require.Contains(t, g.stderr.String(), `msg="changed settings wait for a restart" settings="[timeout static.state log.format]"`)
	require.True(t, g.accepts(t, mint("vm:read")), "the state did not change either")
}

// With --dev there is a terminal, and when it is gone, so is the gateway.
func TestHangupEndsDevelopment(t *testing.T) {
	t.Parallel()
	g := serve(t, nil, "--dev")
	g.signal(t, syscall.SIGHUP)
	require.Equal(t, 0, g.wait(t), "%s", g.stderr)
	require.Contains(t, g.stderr.String(), "drained")
}
