package token

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

var (
	secret = []byte("a-secret-of-the-tests-that-is-long-enough")
	now    = time.Unix(1_800_000_000, 999_999_999)
	whole  = Claims{Subject: DevSubject, Audience: "ai.hg.fi/api", Scope: "vm:read vm:write", TTL: time.Hour}
)

func TestMintRoundTrip(t *testing.T) {
	signed, err := Mint(secret, whole, now)
	if err != nil {
		t.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithAudience("ai.hg.fi/api"), jwt.WithSubject(DevSubject), jwt.WithStrictDecoding())
	parsed, err := parser.Parse(signed, func(*jwt.Token) (any, error) { return secret, nil })
	if err != nil {
		t.Fatal(err)
	}
	want := jwt.MapClaims{
		"sub": DevSubject, "aud": "ai.hg.fi/api", "scope": "vm:read vm:write", "iat": 1_800_000_000.0, "exp": 1_800_003_600.0,
	}
	if !reflect.DeepEqual(parsed.Claims, want) {
		t.Errorf("got %v, want %v", parsed.Claims, want)
	}
	if want := map[string]any{"alg": "HS256", "typ": "JWT"}; !reflect.DeepEqual(parsed.Header, want) {
		t.Errorf("got header %v, want %v", parsed.Header, want)
	}
}

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

func TestDevSubjectIsBillable(t *testing.T) {
	if err := uuid.Validate(DevSubject); err != nil || len(DevSubject) != 36 {
		t.Errorf("%s is no canonical UUID: %v", DevSubject, err)
	}
}
