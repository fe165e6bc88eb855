package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// jwtSecret is what the gateways of these tests verify with.
const jwtSecret = "the secret of the end-to-end tests, 48 bytes long"

// providerToken stands for the credential towards Events.
const providerToken = "the provider's own token, which no log may show"

var minted atomic.Int64

// mint returns a token that is not cached, good for an hour.
func mint(scope string) string { return mintWith(`"scope":"` + scope + `"`) }

// mintWith is mint with a further member, or another scope than both.
func mintWith(member string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(member, `"`), `"`)
	claims := hostile.GoodClaims(time.Now()).Replace(name, member).Add(fmt.Sprintf(`"jti":"%d"`, minted.Add(1)))
	return hostile.Sign(jwtSecret, hostile.DefaultHeader, claims.String())
}

// Every token of the shared table is refused on every path, and none for a
// reason that it should not learn.
func TestBadTokensAreRefused(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	tokens := badTokens()
	for i, token := range tokens {
		logged.keepOut(token.Text)
		line := []string{"GET " + statusPath, "POST " + startPath, "POST " + stopPath}[i%3]
		want := invalidToken
		if token.Expired {
			want = expiredToken
		}
		require.Equal(t, want, ask(t, g.addr, request(line, token.Text)), token.Name)
	}
	require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, mint("vm:read"))))
}

// badTokens is the shared table at the time of the machine. A token that
// becomes valid soon is made an hour ahead, where it stays too young.
func badTokens() []hostile.Token {
	young := func(t hostile.Token) bool { return strings.HasPrefix(t.Name, "nbf ") }
	now := time.Now()
	return append(
		slices.DeleteFunc(hostile.BadTokens(jwtSecret, now), young),
		slices.DeleteFunc(hostile.BadTokens(jwtSecret, now.Add(time.Hour)), func(t hostile.Token) bool { return !young(t) })...,
	)
}

func TestAuthorizationHeadersThatHoldNoOneToken(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	good := mint("vm:read")
	for want, rows := range map[string][][]string{
		missingToken: {
			{"Authorization:"}, {"Authorization: Bearer"}, {"Authorization: Bearer  "}, {"Authorization: " + good},
			{"Authorization: Bearer" + good}, {"Authorization: Bearer:" + good}, {"Authorization: Bearer," + good},
			{"Authorization: Token " + good}, {"Authorization: Basic " + good},
			{"Authorization: Bearer\t" + good}, {"Authorization: Bearer\u00a0" + good},
			{"X-Authorization: Bearer " + good}, {"X_Authorization: Bearer " + good}, {"Proxy-Authorization: Bearer " + good},
			{"Cookie: Authorization=Bearer " + good + "; access_token=" + good},
		},
		invalidToken: {
			{"Authorization: Bearer " + good + " x"}, {"Authorization: Bearer " + good + ", Bearer " + good},
			{"Authorization: Bearer Bearer " + good}, {"Authorization: Bearer token=" + good},
			{"Authorization: Bearer " + strings.Replace(good, ".", " .", 1)},
			{"Authorization: Bearer \t" + good}, {"Authorization: Bearer \u00a0" + good}, {"Authorization: Bearer \u0085" + good},
			{"Authorization: Bearer " + good + "\u00a0"}, {"Authorization: Bearer " + good + "\u3000"},
		},
		twoTokens: {
			{"Authorization: Bearer " + good, "Authorization: Bearer " + good},
			{"Authorization: Bearer " + good, "authorization: Basic dTpw"},
			{"Authorization: Bearer " + good, "AUTHORIZATION:"},
			{"Authorization: Bearer x", "Authorization: Bearer " + good},
		},
		okStatus: {
			{"Authorization: Bearer   " + good}, {"Authorization:\tBearer " + good + " "},
			{"authorization: bearer " + good}, {"Authorization:BEARER " + good},
		},
	} {
		for _, headers := range rows {
			require.Equal(t, want, ask(t, g.addr, request("GET "+statusPath, "", headers...)), headers)
		}
	}
	require.Equal(t, missingToken, ask(t, g.addr, request("GET "+statusPath+"?access_token="+good+"&token="+good, "")))
	body := "access_token=" + good
	require.Equal(t, missingToken, ask(t, g.addr, request("POST "+startPath, "", "Content-Type: application/x-www-form-urlencoded", contentLength(body))+body))
}

// jwt.audiences replaces the platform's audience; a token names one of them
// exactly, and the token command issues for the first.
func TestAudiences(t *testing.T) {
	t.Parallel()
	file := harness.File(t, "audiences.yaml", "jwt:\n  audiences: [ai.hg.fi/internal, ai.hg.fi/api]\n")
	for name, g := range map[string]*gateway{
		"environment": serve(t, []string{"BUS_VM_JWT_AUDIENCES=ai.hg.fi/internal, ai.hg.fi/api"}),
		"file":        serve(t, nil, "--config", file),
	} {
		for audience, want := range map[string]string{
			`"ai.hg.fi/api"`: okStatus, `"ai.hg.fi/internal"`: okStatus, `["x","ai.hg.fi/internal"]`: okStatus,
			`"ai.hg.fi"`: invalidToken, `"AI.hg.fi/api"`: invalidToken, `"ai.hg.fi/internal,"`: invalidToken,
		} {
			require.Equal(t, want, ask(t, g.addr, request("GET "+statusPath, mintWith(`"aud":`+audience))), name+" "+audience)
		}
	}
	got := run(t, []string{"BUS_VM_JWT_SECRET=" + jwtSecret, "BUS_VM_JWT_AUDIENCES=ai.hg.fi/internal"}, "token", "--scope", "vm:read")
	require.Equal(t, "ai.hg.fi/internal", claimsOf(t, strings.TrimSpace(got.Stdout))["aud"], got.Stderr)
}
