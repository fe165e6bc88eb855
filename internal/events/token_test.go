package events

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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
