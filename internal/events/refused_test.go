package events

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

func tokenOf(text string) secret.String { return secret.New(text) }

func refuse(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"error":{"type":"insufficient_scope","message":"No."}}`)
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
