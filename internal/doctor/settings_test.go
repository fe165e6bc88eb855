package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/internal/store"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

func TestSecretFiles(t *testing.T) {
	file := func(mode os.FileMode) string { return writeFile(t, filepath.Join(t.TempDir(), "secret"), "x", mode) }
	fine := found{OK, "none that other users can read", ""}
	for about, c := range map[string]struct {
		secrets, token string
		want           found
	}{
		"none":     {"", "", fine},
		"closed":   {file(0o440), file(0o600), fine},
		"readable": {file(0o644), "", found{Warning, "every user of this machine may read .*/secret", "chmod o-rwx .*/secret"}},
		"writable": {file(0o600), file(0o606), found{Failed, "every user of this machine may replace .*", "chmod .*"}},
		"absent":   {"/nonexistent/secret", "", fine},
	} {
		s := service()
		s.JWT.SecretFile, s.Events.TokenFile = c.secrets, c.token
		s.Token = func() (secret.String, error) { return secret.String{}, nil }
		requireChecks(t, about, "secret files", examine(s.secretFiles), c.want)
	}
	open := service()
	open.Store.URLFile = file(0o644)
	requireChecks(t, "the URL of the store", "secret files", examine(open.secretFiles), found{Warning, "every user .* may read .*", "chmod .*"})
	open = service()
	open.JWT.JWKSFile = file(0o644)
	requireChecks(t, "public keys", "secret files", examine(open.secretFiles), fine)
	open.JWT.JWKSFile = file(0o666)
	requireChecks(t, "keys that anyone may put there", "secret files", examine(open.secretFiles), found{Failed, "every user .* may replace .*", "chmod .*"})
	s := service()
	s.Events.TokenFile = file(0o666) // that of the platform, where no backend needs Events
	requireChecks(t, "a token that nothing uses", "secret files", examine(s.secretFiles), fine)
}

// The package starts with a backend that only answers.
func TestPackagedStatic(t *testing.T) {
	for file, want := range map[string]found{
		"/etc/bus-api-provider-vm/config.yaml": {Warning, "backend static answers by itself: .*", "set backend: events in /etc/bus-api-provider-vm/config.yaml, .*"},
		"/home/a/config.yaml":                  {OK, "right", ""},
	} {
		s := service()
		s.File, s.Backend = file, config.Static
		requireChecks(t, file, "settings", examine(s.settings), want)
	}
}

func TestPublicKeys(t *testing.T) {
	good, rsa := hostile.NewSigner("ES256", "a"), hostile.NewSigner("RS256", "b")
	for document, want := range map[string]found{
		hostile.JWKS(good.JWK(), rsa.JWK()):                                             {OK, "2 in the JWKS", ""},
		hostile.JWKS(good.JWK(), `{"kty":"OKP","crv":"X25519","kid":"odd","x":"AAAA"}`): {Warning, `key "odd" is not used: .*`, "nothing, unless.*"},
		hostile.JWKS(): {Failed, "no keys from the JWKS: the document has no key for RS256, .*", "open --jwks-url.*"},
	} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, document) }))
		s := service()
		s.JWT.JWKSURL = api.URL
		requireChecks(t, document, "public keys", examine(s.publicKeys), want)
		api.Close()
		requireChecks(t, "away", "public keys", examine(s.publicKeys), found{Failed, "no keys from the JWKS: .*refused", "open --jwks-url.*"})
	}
	requireChecks(t, "no JWKS", "public keys", examine(service().publicKeys))
}

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "file"), "", 0o600)
	for _, c := range []struct {
		about, dir string
		want       found
	}{
		{"there", dir, found{OK, dir + `: written and synced in \S+, \d+ MB free`, ""}},
		{"not there yet", filepath.Join(dir, "a", "b"), found{OK, `.*/a/b is going to be made; ` + dir + `: written.*`, ""}},
		{"a file", file, found{Failed, ".*not a directory", "make " + file + " a directory.*"}},
		{"below a file", filepath.Join(file, "a"), found{Failed, ".*not a directory", "make .* a directory.*"}},
		{"not writable by any user", "/proc/self", found{Failed, "open /proc/self/.*", "make /proc/self a directory that is writable.*"}},
	} {
		s := service()
		s.Usage.Backend, s.DataDir = config.Events, c.dir
		got := examine(s.dataDir)
		if c.want.status == OK && got[0].Status == Warning {
			continue // of a slow, full or volatile disk; the table below has those
		}
		requireChecks(t, c.about, "data directory", got, c.want)
	}
	elsewhere := service()
	elsewhere.Usage.Backend, elsewhere.DataDir, elsewhere.Store.URL = config.Events, file, secret.New("postgres://db")
	requireChecks(t, "the store is in PostgreSQL", "data directory", examine(elsewhere.dataDir))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing is left behind, and nothing is made")

	const ext4, tmpfs = 0xef53, 0x01021994
	full := found{Warning, "0 MB are free", "free space on the disk of /data"}
	for about, c := range map[string]struct {
		kind uint32
		free uint64
		want []found
	}{
		"roomy":     {ext4, spaceUnwise, nil},
		"narrow":    {ext4, spaceUnwise - 1, []found{{Warning, "255 MB are free", "free space.*"}}},
		"full":      {ext4, 0, []found{full}},
		"in memory": {tmpfs, spaceUnwise, []found{{Warning, "/data is in memory .*", "choose a local disk.*"}}},
	} {
		var r Report
		judgeDisk(&r, "/data", c.kind, c.free)
		requireChecks(t, about, "data directory", r.Checks, c.want...)
	}
}

func TestDatabase(t *testing.T) {
	examine := func(url string) (r Report) {
		s := service()
		s.Store.URL = secret.New(url)
		s.database(t.Context(), &r)
		return r
	}
	assert.Empty(t, examine("").Checks)
	url := postgres.Start(t).Database()
	r := examine(url)
	require.Len(t, r.Checks, 1)
	assert.Equal(t, Warning, r.Checks[0].Status)
	assert.Contains(t, r.Checks[0].Detail, "no synchronous standby")
	r = examine("postgres://bus:hidden@127.0.0.1:1/bus")
	require.Len(t, r.Checks, 1)
	assert.Equal(t, Failed, r.Checks[0].Status)
	assert.NotContains(t, r.Checks[0].Detail, "hidden")
}

func TestJudgeDatabase(t *testing.T) {
	good := store.Survey{Version: 150003, SynchronousCommit: "on", Standbys: "*", MayCreate: true}
	for name, c := range map[string]struct {
		change func(*store.Survey)
		want   Status // OK: nothing is found
	}{
		"good":                   {func(*store.Survey) {}, OK},
		"old":                    {func(s *store.Survey) { s.Version = 140010 }, Failed},
		"a standby":              {func(s *store.Survey) { s.ReadOnly = true }, Failed},
		"without rights":         {func(s *store.Survey) { s.MayCreate = false }, Failed},
		"commits are not synced": {func(s *store.Survey) { s.SynchronousCommit = "off" }, Failed},
		"alone":                  {func(s *store.Survey) { s.Standbys = "" }, Warning},
	} {
		var r Report
		found := good
		c.change(&found)
		judgeDatabase(&r, found)
		var have Status
		if len(r.Checks) > 0 {
			have = r.Checks[0].Status
		}
		assert.Equal(t, c.want, have, name)
	}
}
