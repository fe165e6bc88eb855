package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The file of the provider's token counts too, where there is a use for it.
func TestBadProviderTokenFile(t *testing.T) {
	t.Parallel()
	const good, bad = "provider-token-of-the-reload-tests", "no token, for it has spaces"
	suite.logged.keepOut(good)
	suite.logged.keepOut(bad)
	file := writeFile(t, "token", good)
	for backend, want := range map[string]string{"static": "1", "events": "0"} {
		replace(t, file, good)
		g, admin := serveAdmin(t, nil, "--backend", backend, "--events-url", "http://127.0.0.1:1", "--token-file", file)
		replace(t, file, bad)
		g.hangUp(t)
		require.Equal(t, want, reloadSuccess(t, admin), "%s: %s", backend, g.stderr)
		replace(t, file, good)
		g.hangUp(t)
		require.Equal(t, "1", reloadSuccess(t, admin))
		g.stop(t)
	}
}

// A provider token that the Events API will refuse is told of before that, at
// start and whenever another is put in its place.
func TestProviderTokenIsInspected(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	file := writeFile(t, "token", providerJWT("vm:read", month))
	g, _ := serveAdmin(t, nil, "--backend", "events", "--billing-backend", "events", "--events-url", "http://127.0.0.1:1", "--token-file", file)
	lines := func(text string) func() bool {
		return func() bool { return strings.Contains(g.stderr.String(), text) }
	}
	harness.Eventually(t, "told at start", lines(`level=ERROR msg="the provider token lacks scopes" missing="billing:entitlement:check vm:write"`))
	for _, c := range []struct{ token, want string }{
		{providerJWT("vm:read vm:write", month), `level=ERROR msg="the provider token lacks scopes" missing=billing:entitlement:check `},
		{providerJWT(platform.ProviderScope, time.Hour), `level=WARN msg="the provider token expires soon"`},
		{providerJWT(platform.ProviderScope, -time.Hour), `level=ERROR msg="the provider token has expired"`},
	} {
		replace(t, file, c.token)
		g.hangUp(t)
		harness.Eventually(t, c.want, lines(c.want))
	}
	before := strings.Count(g.stderr.String(), "msg=\"the provider token")
	g.hangUp(t)
	replace(t, file, providerJWT(platform.ProviderScope, month))
	g.hangUp(t)
	require.Equal(t, before, strings.Count(g.stderr.String(), "msg=\"the provider token"), "%s", g.stderr)
}
