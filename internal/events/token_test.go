package events

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

func TestStaticToken(t *testing.T) {
	for _, bad := range []string{"", "a b", "a\r\nX: y", "ä", "=", "a=b", "a\n"} {
		if _, err := StaticToken(secret.New(bad)); err == nil || !strings.Contains(err.Error(), "BUS_API_TOKEN") ||
			(len(bad) > 2 && strings.Contains(err.Error(), bad)) {
			t.Errorf("StaticToken(%q): %v", bad, err)
		}
	}
	source, err := StaticToken(secret.New("abc.def-._~+/=="))
	require.NoError(t, err)
	holds(t, source, "abc.def-._~+/==")
	changed, err := source.Refused(secret.New("abc"))
	assert.False(t, changed)
	assert.ErrorIs(t, err, ErrTokenRefused)
}

func TestRereadToken(t *testing.T) {
	var next string
	var failure error
	source := RereadToken(func() (secret.String, error) { return secret.New(next), failure })
	holds := func(want string) { t.Helper(); holds(t, source, want) }
	refused := func(token string, want bool) { t.Helper(); refused(t, source, token, want) }
	holds("")
	next = "one"
	holds("one")
	next = "two"
	holds("one")
	refused("one", true)
	holds("two")
	next = "three"
	refused("one", true) // said late, by another stream: two is untried
	holds("two")
	next = "not a token"
	refused("two", false)
	next, failure = "four", errors.New("unreadable")
	refused("two", false)
	holds("two")
	failure = nil
	refused("two", true)
	holds("four")
}

func TestFileToken(t *testing.T) { synctest.Test(t, testFileToken) }

func testFileToken(t *testing.T) {
	var log strings.Builder
	path := filepath.Join(t.TempDir(), "token")
	source := FileToken(path, slog.New(slog.NewTextHandler(&log, nil)))
	replace := func(content string) { t.Helper(); harness.Replace(t, path, content) }
	holds := func(want string) { t.Helper(); holds(t, source, want) }

	_, err := source.Token()
	assert.ErrorIs(t, err, os.ErrNotExist)
	replace("  \n")
	_, err = source.Token()
	assert.EqualError(t, err, "the token file "+path+": the token is empty")
	replace("\ufeffone\n")
	holds("one")
	replace("two")
	holds("one") // looked at less than a second ago
	time.Sleep(fileCheckInterval)
	holds("two")

	replace("not a token")
	for range 3 {
		time.Sleep(fileCheckInterval)
		holds("two")
	}
	assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), &log)
	assert.NotContains(t, log.String(), "not a token")
	require.NoError(t, os.Remove(path))
	time.Sleep(fileCheckInterval)
	holds("two")
	replace("three")
	refused(t, source, "two", true)
	holds("three")
}

// holds checks the token of source, or that it has none.
func holds(t *testing.T, source *TokenSource, want string) {
	t.Helper()
	token, err := source.Token()
	assert.Equal(t, want, token.Reveal())
	assert.Equal(t, want == "", err != nil, "%v", err)
}

// refused refuses token, and checks whether source has another one then.
func refused(t *testing.T, source *TokenSource, token string, want bool) {
	t.Helper()
	changed, err := source.Refused(secret.New(token))
	assert.NoError(t, err)
	assert.Equal(t, want, changed, token)
}

// A source that always has another token must not turn into a storm.
func TestEverChangingTokensAreRefusedWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.listen = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		n := 0
		start(t, f, func(c *Config) {
			c.RetryMin, c.RetryMax = time.Hour, time.Hour
			c.Token = RereadToken(func() (secret.String, error) { n++; return secret.New(strings.Repeat("x", n)), nil })
		})
		synctest.Wait()
		assert.Len(t, f.requests, 2, "with one token, and at once with the next")
	})
}

func TestInspectToken(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	both := []string{"vm:read", "vm:write"}
	f := func(claims string, expires time.Time, missing []string, want error) {
		t.Helper()
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		gotExpires, gotMissing, err := InspectToken(secret.New(token), both, now)
		if !gotExpires.Equal(expires) || !slices.Equal(gotMissing, missing) || !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, %q, %v; want %v, %q, %v", claims, gotExpires, gotMissing, err, expires, missing, want)
		}
	}
	f(`{"exp":1795435201,"scope":"vm:write vm:read"}`, now.Add(time.Second), nil, nil)
	f(`{"exp":1795435200,"scope":" vm:read  vm:write "}`, now, nil, ErrTokenExpired)
	f(`{"exp":0,"scope":"vm:reader vm:write"}`, time.Unix(0, 0), both[:1], ErrTokenExpired)
	f(`{"exp":1795435201.9}`, now.Add(time.Second), both, nil)
	f(`{"exp":1e300}`, time.Time{}, both, nil)
	f(`{}`, time.Time{}, both, nil)
	f(`{"exp":"soon"}`, time.Time{}, nil, errTokenOpaque)
	f(`{"scope":["vm:read"]}`, time.Time{}, nil, errTokenOpaque)
	f(`not json`, time.Time{}, nil, errTokenOpaque)

	for _, token := range []string{"", "opaque", "a.b", "a.b.c.d", "a.!.c"} {
		if _, _, err := InspectToken(secret.New(token), nil, now); !errors.Is(err, errTokenOpaque) {
			t.Errorf("%q: %v", token, err)
		}
	}
}
