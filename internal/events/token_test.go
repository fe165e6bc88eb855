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

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

func TestStaticToken(t *testing.T) {
	for _, bad := range []string{"", "a b", "a\r\nX: y", "ä", "=", "a=b", "a\n"} {
		if _, err := StaticToken(secret.New(bad)); err == nil || !strings.Contains(err.Error(), "BUS_API_TOKEN") ||
			(len(bad) > 2 && strings.Contains(err.Error(), bad)) {
			t.Errorf("StaticToken(%q): %v", bad, err)
		}
	}
	source, err := StaticToken(secret.New("abc.def-._~+/=="))
	if err != nil {
		t.Fatal(err)
	}
	if token, err := source.Token(); err != nil || token.Reveal() != "abc.def-._~+/==" {
		t.Errorf("got %q, %v", token.Reveal(), err)
	}
	if changed, err := source.Refused(secret.New("abc")); changed || !errors.Is(err, ErrTokenRefused) {
		t.Errorf("Refused: %v, %v", changed, err)
	}
}

func TestRereadToken(t *testing.T) {
	var next string
	var failure error
	source := RereadToken(func() (secret.String, error) { return secret.New(next), failure })
	holds := func(want string) {
		t.Helper()
		if token, err := source.Token(); token.Reveal() != want || (err == nil) != (want != "") {
			t.Errorf("Token() = %q, %v; want %q", token.Reveal(), err, want)
		}
	}
	refused := func(token string, want bool) {
		t.Helper()
		if changed, err := source.Refused(secret.New(token)); changed != want || err != nil {
			t.Errorf("Refused(%q) = %v, %v; want %v", token, changed, err, want)
		}
	}
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
	replace := func(content string) { // as a careful writer does
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want string) {
		t.Helper()
		if token, err := source.Token(); err != nil || token.Reveal() != want {
			t.Errorf("Token() = %q, %v; want %q", token.Reveal(), err, want)
		}
	}

	if _, err := source.Token(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	replace("  \n")
	if _, err := source.Token(); err == nil || err.Error() != "the token file "+path+": the token is empty" {
		t.Errorf("empty file: %v", err)
	}
	replace("one\n")
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
	if lines := strings.Count(log.String(), "level=WARN"); lines != 1 || strings.Contains(log.String(), "not a token") {
		t.Errorf("%d warnings: %s", lines, &log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(fileCheckInterval)
	holds("two")
	replace("three")
	if changed, err := source.Refused(secret.New("two")); !changed || err != nil {
		t.Errorf("Refused = %v, %v", changed, err)
	}
	holds("three")
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
		if n := len(f.requests); n != 2 { // with one token, and at once with the next
			t.Errorf("%d attempts, want 2", n)
		}
	})
}

func TestInspectToken(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f := func(claims string, expires time.Time, scopes []string, want error) {
		t.Helper()
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		gotExpires, gotScopes, err := InspectToken(secret.New(token), now)
		if !gotExpires.Equal(expires) || !slices.Equal(gotScopes, scopes) || !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, %q, %v; want %v, %q, %v", claims, gotExpires, gotScopes, err, expires, scopes, want)
		}
	}
	both := []string{"vm:read", "vm:write"}
	f(`{"exp":1795435201,"scope":"vm:read vm:write"}`, now.Add(time.Second), both, nil)
	f(`{"exp":1795435200,"scope":" vm:read  vm:write "}`, now, both, ErrTokenExpired)
	f(`{"exp":0,"scope":"vm:read vm:write"}`, time.Unix(0, 0), both, ErrTokenExpired)
	f(`{"exp":1795435201.9}`, now.Add(time.Second), nil, nil)
	f(`{"exp":1e300}`, time.Time{}, nil, nil)
	f(`{}`, time.Time{}, nil, nil)
	f(`{"exp":"soon"}`, time.Time{}, nil, errTokenOpaque)
	f(`{"scope":["vm:read"]}`, time.Time{}, nil, errTokenOpaque)
	f(`not json`, time.Time{}, nil, errTokenOpaque)

	for _, token := range []string{"", "opaque", "a.b", "a.b.c.d", "a.!.c"} {
		if _, _, err := InspectToken(secret.New(token), now); !errors.Is(err, errTokenOpaque) {
			t.Errorf("%q: %v", token, err)
		}
	}
}
