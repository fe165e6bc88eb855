package events

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

func tokenOf(text string) secret.String { return secret.New(text) }

// tokenFrom is a source that yields the texts one after the other, moving on
// when one is refused, and stays with the last.
func tokenFrom(texts ...string) TokenSource {
	return RereadToken(func() (secret.String, error) {
		token := tokenOf(texts[0])
		if len(texts) > 1 {
			texts = texts[1:]
		}
		return token, nil
	})
}

func refuse(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"error":{"type":"insufficient_scope","message":"No."}}`)
}

func TestARefusedStaticTokenEndsRun(t *testing.T) {
	const listening = `the Events API refused the token in BUS_API_TOKEN: listening to bus.vm.start.response was answered 403 Forbidden ` +
		`(insufficient_scope: No.); it needs the scope "vm:write", and all that is enabled needs "vm:read vm:write"; ` +
		`put a valid token there, or use --token-file to replace it while running`
	publishing := strings.NewReplacer("listening to bus.vm.start.response", "publishing bus.vm.start.request", "403 Forbidden", "401 Unauthorized").
		Replace(listening)
	both := func(c *Config) { c.Replies = []string{statusReply, startReply} }

	t.Run("listening", func(t *testing.T) {
		f := newFake(t)
		f.listen = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("name") == startReply {
				refuse(w, http.StatusForbidden)
				return true
			}
			return false
		}
		r := start(t, f, both)
		if err := want(t, r.err); !errors.Is(err, ErrTokenRefused) || err.Error() != listening {
			t.Errorf("Run = %v\nwant  %s", err, listening)
		}
	})
	t.Run("publishing", func(t *testing.T) {
		f := newFake(t)
		f.publish = func(w http.ResponseWriter, _ *http.Request, _ published) { refuse(w, http.StatusUnauthorized) }
		r := start(t, f, both)
		wantErr(t, r.ask("a"), ErrRefused)
		if err := want(t, r.err); !errors.Is(err, ErrTokenRefused) || err.Error() != publishing {
			t.Errorf("Run = %v\nwant  %s", err, publishing)
		}
	})
	t.Run("replaying", func(t *testing.T) {
		f := newFake(t)
		f.listen = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("replay") == "true" {
				refuse(w, http.StatusForbidden)
				return true
			}
			return false
		}
		r := start(t, f, both)
		reply := r.ask("a")
		want(t, f.published)
		for s := want(t, f.opened); ; s = want(t, f.opened) {
			if s.query.Get("name") == startReply {
				s.end()
				break
			}
		}
		if err := want(t, r.err); !errors.Is(err, ErrTokenRefused) || err.Error() != listening {
			t.Errorf("Run = %v\nwant  %s", err, listening)
		}
		wantErr(t, reply, ErrNoReply)
	})
}

// only lets one token in.
func only(f *fake, token *atomic.Value) {
	allowed := func(w http.ResponseWriter, r *http.Request) bool {
		ok := r.Header.Get("Authorization") == "Bearer "+token.Load().(string)
		if !ok {
			refuse(w, http.StatusUnauthorized)
		}
		return ok
	}
	f.listen = func(w http.ResponseWriter, r *http.Request) bool { return !allowed(w, r) }
	f.publish = func(w http.ResponseWriter, r *http.Request, p published) {
		if allowed(w, r) {
			accept(w, p)
		}
	}
}

func TestATokenFileIsReadAgainWhenRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	f := newFake(t)
	var valid atomic.Value
	valid.Store("two")
	only(f, &valid)
	r := start(t, f, func(c *Config) { c.Token = FileToken(path, slog.New(slog.DiscardHandler)) })
	for range 3 { // it goes on while the file holds the wrong one
		want(t, f.requests)
	}
	reply := r.ask("a")
	write("two")
	want(t, f.opened)
	want(t, f.published)
	f.reply(startReply, "a", 1)
	wantN(t, reply, 1)

	// A publish meets the change first: it is sent again, once, with the new
	// token, since the refusal proves that it was not accepted.
	write("three")
	valid.Store("three")
	reply = r.ask("b")
	want(t, f.published)
	want(t, f.published)
	f.reply(startReply, "b", 2)
	wantN(t, reply, 2)

	valid.Store("four")
	wantErr(t, r.ask("c"), ErrRefused)
	if len(f.published) != 1 {
		t.Errorf("published %d times with a token that did not change", len(f.published))
	}
	if len(r.err) != 0 {
		t.Errorf("Run = %v", <-r.err)
	}
}

// A source that always has another token must not turn into a storm.
func TestEverChangingTokensAreRefusedWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, overPipes func(*Client)) {
		var valid atomic.Value
		valid.Store("none")
		only(f, &valid)
		n := 0
		start(t, f, func(c *Config) {
			c.RetryMin, c.RetryMax = time.Hour, time.Hour
			c.Token = RereadToken(func() (secret.String, error) { n++; return tokenOf(strings.Repeat("x", n)), nil })
		}, overPipes)
		synctest.Wait()
		if n := len(f.requests); n != 2 { // with one token, and at once with the next
			t.Errorf("%d attempts, want 2", n)
		}
	})
}
