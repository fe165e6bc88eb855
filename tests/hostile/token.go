// Package hostile is what a gateway must refuse, as data: bearer tokens and
// raw HTTP requests, each with the answer it deserves. Unit tests and the
// end-to-end tests of the built binary run the same tables.
//
// Tokens are put together byte by byte, without a JWT library, so that a
// misreading in the library under test cannot hide here as well.
package hostile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
)

// Audience is what a good token is issued for.
const Audience = "ai.hg.fi/api"

// Token is one bearer token of a table.
type Token struct {
	Name string
	Text string
	// Expired: the answer may say that the token has expired; it is no other
	// token's business why it was refused.
	Expired bool
}

// DefaultHeader is the JOSE header of an ordinary token.
const DefaultHeader = `{"alg":"HS256","typ":"JWT"}`

// Sign makes an HS256 token of header and claims exactly as they are spelled.
func Sign(secret, header, claims string) string {
	return SignSegments(sha256.New, secret, encode(header), encode(claims))
}

// SignSegments signs two segments that are already encoded, well or badly.
func SignSegments(algorithm func() hash.Hash, secret, header, claims string) string {
	mac := hmac.New(algorithm, []byte(secret))
	mac.Write([]byte(header + "." + claims))
	return header + "." + claims + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// Claims is a claims set under construction: raw JSON members in order, so
// that names can repeat and values can be anything.
type Claims []string

// GoodClaims are accepted for an hour from now.
func GoodClaims(now time.Time) Claims {
	return Claims{
		`"sub":"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e"`,
		`"aud":"` + Audience + `"`,
		`"scope":"vm:read vm:write"`,
		fmt.Sprintf(`"iat":%d`, now.Unix()),
		fmt.Sprintf(`"exp":%d`, now.Add(time.Hour).Unix()),
	}
}

// Set replaces the member name with raw JSON.
func (c Claims) Set(name, raw string) Claims { return c.Replace(name, `"`+name+`":`+raw) }

// Replace puts member, name included, in the place of name.
func (c Claims) Replace(name, member string) Claims {
	replaced := slices.Clone(c)
	for i, m := range replaced {
		if strings.HasPrefix(m, `"`+name+`":`) {
			replaced[i] = member
			return replaced
		}
	}
	return append(replaced, member)
}

// Without drops the member name.
func (c Claims) Without(name string) Claims {
	return slices.DeleteFunc(slices.Clone(c), func(m string) bool {
		return strings.HasPrefix(m, `"`+name+`":`)
	})
}

// Add appends raw members at the end.
func (c Claims) Add(members ...string) Claims { return append(slices.Clone(c), members...) }

func (c Claims) String() string { return "{" + strings.Join(c, ",") + "}" }

// BadTokens are refused with 401 by a gateway whose only secret is secret and
// whose clock shows now, with no leeway.
func BadTokens(secret string, now time.Time) []Token {
	return slices.Concat(
		badDates(secret, now),
		badAudiences(secret, now),
		badSubjects(secret, now),
		badNames(secret, now),
		badDocuments(secret, now),
		badHeaders(secret, now),
		badAlgorithms(secret, now),
		badEncodings(secret, now),
		badSignatures(secret, now),
	)
}
