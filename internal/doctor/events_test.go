package doctor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
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

// newToken is the remedy for any token that is refused or will be.
const newToken = "issue a provider token with the scopes billing:entitlement:check usage:write vm:read vm:write, and .*"

// eventsChecks is what is found with a token, by name.
func eventsChecks(url, token string) []Check {
	s := service()
	s.Events.URL, s.Replies = url, replies
	s.Token = func() (secret.String, error) {
		if token == "" {
			return secret.String{}, errors.New("the token file: gone")
		}
		return secret.New(token), nil
	}
	return examine(s.events)
}

// The real API of the tests, well and in trouble.
func TestEvents(t *testing.T) {
	p, err := platform.Start(platform.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	minted := func(scope string, ttl time.Duration) string {
		return platform.Token(platform.DevSecret, platform.Claims{Scope: scope, TTL: ttl})
	}
	const scopes = platform.ProviderScope
	good := minted(scopes, 48*time.Hour)
	all := strings.Join(replies, ", ") + ": "
	open := found{OK, "4 reply streams open", ""}
	refused := func(status string) found { return found{Failed, all + ".*" + status + ".*", newToken} }
	fine := found{OK, "it expires at .*, and has the scopes .*", ""}
	expired := found{Failed, "it has expired at .*", newToken}
	away := func() { require.NoError(t, p.Events.Stop()) }
	fail := func(status int) func() {
		return func() { p.Events.SetFaults(platform.Faults{ListenStatus: status}) }
	}
	for _, c := range []struct {
		about, root, token string
		first              func()
		streams            found // none where the token says all
		tokens             []found
	}{
		{"well", "", good, nil, open, []found{fine}},
		{"by another root", platform.LocalRoot + "/", good, nil, open, []found{fine}},
		{"an old path", "/elsewhere", good, nil, found{Failed, all + ".*404 Not Found.*", "correct --events-url.*"}, []found{fine}},
		{"expires soon", "", minted(scopes, time.Hour), nil, open, []found{{Warning, "it expires at .*, within a day, .*", newToken}}},
		{"expired", "", minted(scopes, -time.Hour), nil, found{}, []found{expired}},
		{"opaque", "", "opaque", nil, refused("401 Unauthorized"), []found{{OK, ".*no JWT.*", ""}}},
		{"other scopes", "", minted("vm:reader", 48*time.Hour), nil, found{},
			[]found{{Failed, ".*, and lacks the scopes billing:entitlement:check usage:write vm:read vm:write", newToken}}},
		{"one scope short, expired", "", minted("vm:read", -time.Hour), nil, found{},
			[]found{{Failed, "it has expired at .*, and lacks the scopes .*", newToken}}},
		{"one scope short", "", minted("vm:read vm:write usage:write", 48*time.Hour), nil, found{},
			[]found{{Failed, ".*, and lacks the scopes billing:entitlement:check", newToken}}},
		{"in trouble", "", good, fail(500), found{Failed, all + ".*500 .*", "look at the log of the Events API"}, []found{fine}},
		{"away", "", good, away, found{Failed, all + ".*refused", "start the Events API, .*"}, []found{fine}},
	} {
		if c.first != nil {
			c.first()
		}
		got := eventsChecks(p.URL()+c.root, c.token)
		requireChecks(t, c.about, "provider token", got, c.tokens...)
		if c.streams == (found{}) {
			requireChecks(t, c.about, "events", got)
		} else {
			requireChecks(t, c.about, "events", got, c.streams)
		}
		if c.about != "away" {
			requireChecks(t, c.about, "clock", got, found{OK, "agrees with the Events API", ""})
			for _, reply := range replies {
				require.NoError(t, p.Events.WaitGone(t.Context(), reply), "the streams are closed again")
			}
			require.Empty(t, p.Check(), "a request was published")
		}
	}
	require.Empty(t, examine(service().events), "not needed")
	requireChecks(t, "no token", "provider token", eventsChecks(p.URL(), ""), found{Failed, "the token file: gone", newToken})
}

func TestClock(t *testing.T) {
	var date func() string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		if date != nil {
			w.Header().Set("Date", date())
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
	}))
	defer api.Close()
	requireChecks(t, "an API that does not tell its time", "clock", eventsChecks(api.URL, "x"))
	const do = "synchronise the clocks.*"
	for ahead, want := range map[time.Duration]found{
		0:                 {OK, "agrees with the Events API", ""},
		time.Second:       {OK, "agrees with the Events API", ""},
		20 * time.Second:  {Warning, "(19|20)s apart from the Events API", do + "--jwt-leeway"},
		-20 * time.Second: {Warning, "(19|20)s apart from the Events API", do + "--jwt-leeway"},
		time.Hour:         {Failed, "(59m59s|1h0m0s) apart from the Events API", do},
		-time.Hour:        {Failed, "(59m59s|1h0m0s) apart from the Events API", do},
	} {
		date = func() string { return time.Now().Add(ahead).UTC().Format(http.TimeFormat) }
		requireChecks(t, ahead.String(), "clock", eventsChecks(api.URL, "x"), want)
	}
}

// A certificate that cannot be verified is named for what it is.
func TestEventsCertificate(t *testing.T) {
	api := httptest.NewTLSServer(http.NotFoundHandler())
	defer api.Close()
	good := platform.Token(platform.DevSecret, platform.Claims{Scope: platform.ProviderScope, TTL: 48 * time.Hour})
	requireChecks(t, "unknown authority", "events", eventsChecks(api.URL, good),
		found{Failed, ".*certificate.*", "renew the certificate of the Events API, .*"})
}
