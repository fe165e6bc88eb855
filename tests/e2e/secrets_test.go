package e2e

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Where the secret comes from, and how its text is read.
func TestSecretOfCallersTokens(t *testing.T) {
	t.Parallel()
	const a, b, short = "the first secret of this table, 40 bytes", "the second secret of this table, 41 bytes", "dev-secret-b"
	encoded := base64.StdEncoding.EncodeToString([]byte(a))
	const mark, comment = "\ufeff", "# a comment that is as long as a secret should be"
	joined := harness.File(t, "joined", mark+comment+"\r\n"+a+"\r\n"+mark+comment+"\r\n"+mark+b+"\r\n")
	file := harness.File(t, "secrets", "# rolled\n\n"+b+"\nbase64:"+encoded+"\n")
	for _, c := range []struct {
		name          string
		env           []string
		good, refused []string
		warning       bool
	}{
		{"its own name", []string{"BUS_VM_JWT_SECRET=" + a}, []string{a}, []string{b, ""}, false},
		{"the platform's name", []string{"BUS_API_JWT_SECRET=" + a}, []string{a}, []string{b}, false},
		{"its own before the platform's", []string{"BUS_API_JWT_SECRET=" + b, "BUS_VM_JWT_SECRET=" + a}, []string{a}, []string{b}, false},
		{"base64", []string{"BUS_VM_JWT_SECRET=base64:" + encoded}, []string{a}, []string{encoded, "base64:" + encoded}, false},
		{"what only looks like base64", []string{"BUS_VM_JWT_SECRET=" + encoded}, []string{encoded}, []string{a}, false},
		{"short", []string{"BUS_VM_JWT_SECRET=" + short}, []string{short}, []string{a}, true},
		{"the published one", []string{"BUS_VM_JWT_SECRET=" + devSecret}, []string{devSecret}, []string{a}, true},
		{"a file of two", []string{"BUS_VM_JWT_SECRET_FILE=" + file}, []string{a, b}, []string{encoded, ""}, false},
		{"byte order marks", []string{"BUS_VM_JWT_SECRET=" + mark + a}, []string{a}, []string{mark + a}, false},
		{"files with byte order marks, joined", []string{"BUS_VM_JWT_SECRET_FILE=" + joined}, []string{a, b}, []string{comment, mark + comment, mark + b}, false},
		{"an escape", []string{"BUS_VM_JWT_SECRET=" + a + `\n`}, []string{a + `\n`}, []string{a}, true},
		{"another, in a file", []string{"BUS_VM_JWT_SECRET_FILE=" + harness.File(t, "escape", a+`\r`+"\r\n")}, []string{a + `\r`}, []string{a}, true},
		{"a line feed", []string{"BUS_VM_JWT_SECRET=" + a + "\n"}, []string{a + "\n"}, []string{a}, true},
		{"quotes", []string{`BUS_VM_JWT_SECRET="` + a + `"`}, []string{`"` + a + `"`}, []string{a}, true},
	} {
		g := serve(t, append([]string{"BUS_VM_JWT_SECRET="}, c.env...))
		for want, secrets := range map[string][]string{okStatus: c.good, invalidToken: c.refused} {
			for _, secret := range secrets {
				require.Equal(t, want, ask(t, g.addr, request("GET "+statusPath, signedBy(secret))), c.name)
			}
		}
		g.stop(t)
		require.Equal(t, c.warning, strings.Contains(g.stderr.String(), "level=WARN"), c.name)
	}
}

// What the platform's dispatcher sets for every child changes nothing where
// Events is not used.
func TestAmbientEnvironmentIsHarmless(t *testing.T) {
	t.Parallel()
	for _, ambient := range [][]string{
		{"BUS_EVENTS_API_URL=http://127.0.0.1:8081/local/v1", "BUS_EVENTS_TOKEN_FILE=.bus/tokens/local-events.jwt"},
		{"BUS_EVENTS_API_URL=not a URL", "BUS_EVENTS_TOKEN_FILE=/dev/null", "BUS_API_TOKEN=" + providerToken},
		{"BUS_EVENTS_LISTENER_REQUIRED=1"},
	} {
		g := serve(t, ambient)
		require.Equal(t, okReady, ask(t, g.addr, request("GET /readyz", "")))
		require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, mint("vm:read"))))
		require.NotContains(t, g.stderr.String(), "level=WARN")
		require.NotContains(t, g.stderr.String(), "level=ERROR")
	}
}

// What lasts has a unit in JSON, as in text.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	g := serve(t, nil, "--log-format", "json")
	require.Equal(t, invalidToken, ask(t, g.addr, request("GET "+statusPath, "not.a.token")))
	g.start()
	g.stop(t)
	lasted := map[string]any{}
	for line := range strings.Lines(g.stderr.String()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		require.Contains(t, record, "level")
		lasted[record["msg"].(string)] = cmp.Or(record["duration"], record["timeout"])
	}
	require.Regexp(t, `^[0-9.]+(µs|ms|s)$`, lasted["audit"])
	require.Regexp(t, `^[0-9m]+s$`, lasted["draining"])
}

// The file of the provider's token counts too, where there is a use for it.
func TestBadProviderTokenFile(t *testing.T) {
	t.Parallel()
	const good, bad = "provider-token-of-the-reload-tests", "no token, for it has spaces"
	logged.keepOut(good)
	logged.keepOut(bad)
	file := harness.File(t, "token", good)
	for backend, want := range map[string]float64{"static": 1, "events": 0} {
		harness.Replace(t, file, good)
		g, admin := serveAdmin(t, nil, "--backend", backend, "--events-url", "http://127.0.0.1:1", "--token-file", file)
		harness.Replace(t, file, bad)
		g.hangUp(t)
		require.Equal(t, want, measure(t, admin, "bus_vm_reload_success"), "%s: %s", backend, g.stderr)
		harness.Replace(t, file, good)
		g.hangUp(t)
		require.Equal(t, 1., measure(t, admin, "bus_vm_reload_success"))
		g.stop(t)
	}
}

// A provider token that the Events API will refuse is told of before that, at
// start and whenever another is put in its place.
func TestProviderTokenIsInspected(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	file := harness.File(t, "token", providerJWT("vm:read", month))
	g, _ := serveAdmin(t, nil, "--backend", "events", "--billing-backend", "events", "--events-url", "http://127.0.0.1:1", "--token-file", file)
	looked := func(level, finding string) {
		t.Helper()
		line := regexp.MustCompile(`level=` + level + ` msg="looked at the provider token" finding="` + finding)
		harness.Eventually(t, line.String(), func() bool { return line.MatchString(g.stderr.String()) })
	}
	looked("ERROR", `it expires at [^,]*, and lacks the scopes billing:entitlement:check vm:write" do=`)
	for _, c := range []struct{ token, level, finding string }{
		{providerJWT("vm:read vm:write", month), "ERROR", `it expires at [^,]*, and lacks the scopes billing:entitlement:check"`},
		{providerJWT(platform.ProviderScope, time.Hour), "WARN", `it expires at [^,]*, within a day`},
		{providerJWT(platform.ProviderScope, -time.Hour), "ERROR", `it has expired at `},
		{providerJWT(platform.ProviderScope, month), "INFO", `it expires at [^,]*, and has the scopes [^"]*"` + "\n"},
	} {
		harness.Replace(t, file, c.token) // which is followed
		looked(c.level, c.finding)
	}
	g.hangUp(t)
	require.Equal(t, 5, strings.Count(g.stderr.String(), "looked at the provider token"), "%s", g.stderr)
}
