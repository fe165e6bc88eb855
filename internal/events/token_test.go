package events

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
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

func TestFileToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	source := FileToken(path)
	replace := func(content string) { t.Helper(); harness.Replace(t, path, content) }
	holds := func(want string) { t.Helper(); holds(t, source, want) }
	rereads := func(want error) {
		t.Helper()
		token, err := source.Reread()
		assert.ErrorIs(t, err, want)
		assert.Equal(t, want != nil, token.IsZero())
	}

	_, err := source.Token()
	assert.ErrorIs(t, err, os.ErrNotExist)
	replace("  \n")
	_, err = source.Token()
	assert.EqualError(t, err, "the token file "+path+": the token is empty")
	replace("\ufeffone\n")
	holds("one")
	replace("two")
	holds("one")
	rereads(nil)
	holds("two")

	replace("not a token")
	_, err = source.Reread()
	assert.ErrorContains(t, err, "characters that no bearer token has")
	assert.NotContains(t, err.Error(), "not a token")
	holds("two")
	require.NoError(t, os.Remove(path))
	rereads(os.ErrNotExist)
	holds("two")
	replace("three")
	refused(t, source, "two", true)
	holds("three")
}

// A file system that hangs holds up no request.
func TestTokenDoesNotWaitForReread(t *testing.T) {
	began, hangs, ended := make(chan bool), make(chan bool), make(chan bool)
	source, err := StaticToken(secret.New("one"))
	require.NoError(t, err)
	source.read = func() (secret.String, error) {
		close(began)
		<-hangs
		return secret.New("two"), nil
	}
	go func() {
		_, _ = source.Reread()
		close(ended)
	}()
	<-began
	holds(t, source, "one")
	close(hangs)
	<-ended
	holds(t, source, "two")
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
	const lacks = ", and lacks the scopes "
	f := func(claims string, expires time.Time, level slog.Level, finding string) {
		t.Helper()
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		gotExpires, gotLevel, got := InspectToken(secret.New(token), both, now)
		if !gotExpires.Equal(expires) || gotLevel != level || got != finding {
			t.Errorf("%s: %v, %s, %q; want %v, %s, %q", claims, gotExpires, gotLevel, got, expires, level, finding)
		}
	}
	f(`{"exp":1795435201,"scope":"vm:write vm:read"}`, now.Add(time.Second), slog.LevelWarn,
		"it expires at 2026-11-23T12:00:01Z, within a day, and has the scopes vm:read vm:write")
	f(`{"exp":1795521600,"scope":"vm:write vm:read"}`, now.Add(24*time.Hour), slog.LevelInfo,
		"it expires at 2026-11-24T12:00:00Z, and has the scopes vm:read vm:write")
	f(`{"exp":1795435200,"scope":" vm:read  vm:write "}`, now, slog.LevelError,
		"it has expired at 2026-11-23T12:00:00Z, and has the scopes vm:read vm:write")
	f(`{"exp":0,"scope":"vm:reader vm:write"}`, time.Unix(0, 0), slog.LevelError, "it has expired at 1970-01-01T00:00:00Z"+lacks+"vm:read")
	f(`{"exp":1795435201.9}`, now.Add(time.Second), slog.LevelError, "it expires at 2026-11-23T12:00:01Z, within a day"+lacks+"vm:read vm:write")
	f(`{"exp":1e300}`, time.Time{}, slog.LevelError, "it does not expire"+lacks+"vm:read vm:write")
	f(`{"scope":"vm:read vm:write"}`, time.Time{}, slog.LevelInfo, "it does not expire, and has the scopes vm:read vm:write")
	const opaque = "it is no JWT, so its expiry and scopes cannot be checked"
	f(`{"exp":"soon"}`, time.Time{}, slog.LevelInfo, opaque)
	f(`{"scope":["vm:read"]}`, time.Time{}, slog.LevelInfo, opaque)
	f(`not json`, time.Time{}, slog.LevelInfo, opaque)

	for _, token := range []string{"", "opaque", "a.b", "a.b.c.d", "a.!.c"} {
		if _, level, finding := InspectToken(secret.New(token), both, now); level != slog.LevelInfo || finding != opaque {
			t.Errorf("%q: %s, %s", token, level, finding)
		}
	}
}
