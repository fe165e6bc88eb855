package doctor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

var replies = []string{
	platform.ReplyName(platform.StatusRequest), platform.ReplyName(platform.StartRequest),
	platform.ReplyName(platform.EntitlementRequest), platform.ReplyName(platform.UsageRequest),
}

func constant(token string) func() (secret.String, error) {
	return func() (secret.String, error) { return secret.New(token), nil }
}

func minted(scope string, ttl time.Duration) string {
	return platform.Token(platform.DevSecret, platform.Claims{Scope: scope, TTL: ttl})
}

func TestProviderToken(t *testing.T) {
	const name, all = "provider token", platform.ProviderScope
	look := func(token func() (secret.String, error)) []Check {
		return Config{Events: &Events{Token: token, Replies: replies}, Now: time.Now}.providerToken(background())
	}
	do := "issue a provider token with the scopes billing:entitlement:check usage:write vm:read vm:write, and .*"
	requireChecks(t, "not needed", name, Config{}.providerToken(background()))
	requireChecks(t, "good", name, look(constant(minted(all, 48*time.Hour))), found{OK, "expires at .*; has the scopes .*", ""})
	requireChecks(t, "opaque", name, look(constant("opaque")), found{OK, ".*no JWT.*", ""})
	requireChecks(t, "soon", name, look(constant(minted(all, time.Hour))), found{Warning, "expires at .*, within a day", do})
	requireChecks(t, "expired", name, look(constant(minted(all, -time.Hour))), found{Failed, "the token has expired at .*", do})
	requireChecks(t, "scopes", name, look(constant(minted("vm:read vm:writer", 48*time.Hour))), found{Failed, "it lacks the scopes billing:entitlement:check usage:write vm:write", do})
	requireChecks(t, "all at once", name, look(constant(minted("vm:read", -time.Hour))), found{Failed, "the token has expired.*", do}, found{Failed, "it lacks.*", do})
	requireChecks(t, "none", name, look(func() (secret.String, error) { return secret.String{}, errors.New("the token file: gone") }), found{Failed, "the token file: gone", do})
}

// The real API of the tests, well and in trouble.
func TestEventsAPI(t *testing.T) {
	p, err := platform.Start(platform.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	good := p.ProviderToken()
	look := func(url, token string) []Check {
		return Config{Events: &Events{URL: url, Token: constant(token), Replies: replies}}.events(background())
	}
	fine, agrees := found{OK, "4 reply streams open", ""}, "agrees with the Events API"
	expect := func(about string, got []Check, want ...found) {
		t.Helper()
		last := len(got) - 1
		if got[last].Name == "clock" {
			require.Equal(t, Check{"clock", OK, agrees, ""}, got[last], about)
			got = got[:last]
		}
		requireChecks(t, about, "events", got, want...)
	}
	expect("well", look(p.URL(), good), fine)
	expect("by another root", look(p.URL()+platform.LocalRoot+"/", good), fine)
	for _, reply := range replies {
		require.NoError(t, p.Events.WaitGone(background(), reply), "the streams are closed again")
	}
	require.Empty(t, p.Check(), "a request was published")

	const newToken = "issue a provider token with the scopes .*"
	each := func(detail, do string) (want []found) {
		for _, reply := range replies {
			want = append(want, found{Failed, reply + ": " + detail, do})
		}
		return want
	}
	expect("a token of no scope", look(p.URL(), minted("other", time.Hour)), each(".*403 Forbidden.*", newToken)...)
	expect("an expired token", look(p.URL(), minted(platform.ProviderScope, -time.Hour)), each(".*401 Unauthorized.*", newToken)...)
	expect("one scope short", look(p.URL(), minted("vm:read vm:write usage:write", time.Hour)),
		found{Failed, replies[2] + ": .*403.*", "issue a provider token with the scopes billing:entitlement:check, .*"})
	expect("an old path", look(p.URL()+"/elsewhere", good), found{Failed, "no stream opens: .*404 Not Found.*", "correct --events-url.*"})
	p.Events.SetFaults(platform.Faults{ListenStatus: 500})
	expect("in trouble", look(p.URL(), good), found{Failed, "no stream opens: .*500 .*", "look at the log of the Events API"})
	p.Events.SetFaults(platform.Faults{})
	require.NoError(t, p.Events.Stop())
	expect("away", look(p.URL(), good), found{Failed, "no stream opens: .*refused", "start the Events API, .*"})
	requireChecks(t, "without a token", "events", Config{Events: &Events{
		URL: p.URL(), Replies: replies, Token: func() (secret.String, error) { return secret.String{}, errors.New("x") },
	}}.events(background()))
}

func TestClock(t *testing.T) {
	var ahead time.Duration
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/x-ndjson")
	}))
	defer api.Close()
	const do = "synchronise the clocks.*"
	for _, c := range []struct {
		ahead time.Duration
		want  found
	}{
		{0, found{OK, "agrees with the Events API", ""}},
		{time.Second, found{OK, "agrees with the Events API", ""}},
		{20 * time.Second, found{Warning, "(19|20)s apart from the Events API", do + "--jwt-leeway"}},
		{-20 * time.Second, found{Warning, "(19|20)s apart from the Events API", do + "--jwt-leeway"}},
		{time.Hour, found{Failed, "(59m59s|1h0m0s) apart from the Events API", do}},
		{-time.Hour, found{Failed, "(59m59s|1h0m0s) apart from the Events API", do}},
	} {
		ahead = c.ahead
		got := Config{Events: &Events{URL: api.URL, Token: constant("x"), Replies: replies[:2]}}.events(background())
		require.Equal(t, "events", got[0].Name)
		requireChecks(t, c.ahead.String(), "clock", got[1:], c.want)
	}
	require.Empty(t, clock([]attempt{{}}), "an API that does not tell its time")
}
