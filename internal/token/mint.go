package token

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DevSubject is the account of minted tokens by default: a UUID, so
// that billing and usage accept it.
const DevSubject = "00000000-0000-4000-8000-000000000001"

// Claims is what a token says.
type Claims struct {
	Subject  string
	Audience string
	// Scope holds the scopes, separated by spaces (RFC 8693 §4.2).
	Scope string
	// TTL is the time from now to exp, at least a second.
	TTL time.Duration
}

// Mint signs c with secret, by HS256: for development and smoke checks;
// production tokens come from the platform. The token expires c.TTL after now,
// less the fraction of a second that NumericDate drops here (RFC 7519 §2).
func Mint(secret []byte, c Claims, now time.Time) (string, error) {
	switch {
	case c.Subject == "":
		return "", errors.New("the subject is empty")
	case c.Audience == "":
		return "", errors.New("the audience is empty")
	case c.TTL < time.Second:
		return "", errors.New("the lifetime is less than a second")
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": c.Subject, "aud": c.Audience, "scope": c.Scope,
		"iat": now.Unix(), "exp": now.Add(c.TTL).Unix(),
	}).SignedString(secret)
}
