package token

import (
	"errors"
	"testing"
	"time"
)

var (
	secret = []byte("a-secret-of-the-tests-that-is-long-enough")
	now    = time.Unix(1_800_000_000, 999_999_999)
	whole  = Claims{Subject: DevSubject, Audience: "ai.hg.fi/api", Scope: "vm:read vm:write", TTL: time.Hour}
)

func TestMintRefusesWhatNobodyCouldUse(t *testing.T) {
	for name, tc := range map[string]struct {
		secret []byte
		change func(*Claims)
		want   error
	}{
		"no secret":   {nil, func(*Claims) {}, ErrNoSecret},
		"no subject":  {secret, func(c *Claims) { c.Subject = "" }, ErrNoSubject},
		"no audience": {secret, func(c *Claims) { c.Audience = "" }, ErrNoAudience},
		"no scope":    {secret, func(c *Claims) { c.Scope = "" }, ErrNoScope},
		"no lifetime": {secret, func(c *Claims) { c.TTL = time.Second - 1 }, ErrTTL},
	} {
		t.Run(name, func(t *testing.T) {
			c := whole
			tc.change(&c)
			if got, err := Mint(tc.secret, c, now); got != "" || !errors.Is(err, tc.want) {
				t.Errorf("got %q, %v, want %v", got, err, tc.want)
			}
		})
	}
}
