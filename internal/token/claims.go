package token

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// latestDate bounds NumericDate claims (RFC 7519 §2) to the end of the year
// 9999, far below any overflow of the arithmetic on them.
const latestDate = 253402300799

// Why claims are refused. No reason to refuse a token repeats a part of it.
var (
	ErrSubject       = errors.New("the claim sub is missing or empty")
	ErrExpiry        = errors.New("the claim exp is missing, or a date is out of range")
	ErrClaimType     = errors.New("one of the claims sub, aud, scope, exp and nbf has a wrong type")
	ErrExpired       = errors.New("the token has expired")
	ErrNotYetValid   = errors.New("the token is not valid yet")
	ErrWrongAudience = errors.New("the token is meant for another audience")

	errNotJSON = errors.New("the claims are not one JSON object with unique names")
)

// RawClaims is what golang-jwt decodes the claims of a token into, before it
// verifies the signature: their text. Accept reads it, after the signature. A
// Validate method, which golang-jwt calls at that time as well, would have its
// errors wrapped, which costs a tenth of a verification.
type RawClaims struct {
	jwt.MapClaims // stays empty, so golang-jwt has nothing to check
	text          []byte
	verifiedBy    *keyRing // whose key was used; set by Verifier.Key
}

// UnmarshalJSON keeps a copy: data may be reused, see json.Unmarshaler.
func (c *RawClaims) UnmarshalJSON(data []byte) error {
	c.text = bytes.Clone(data)
	return nil
}

// claims are those that matter here.
type claims struct {
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Scope    string   `json:"scope"`
	validity
}

// validity is from when to when a token is valid, in seconds since the epoch,
// of which RFC 7519 §2 allows fractions.
type validity struct {
	ExpiresAt float64 `json:"exp"`
	NotBefore float64 `json:"nbf"` // 0 when absent
}

// audience is a string or a list of strings (RFC 7519 §4.1.3).
type audience []string

// UnmarshalJSONFrom takes half of the time of jwt.ClaimStrings.
func (a *audience) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	if in.PeekKind() != '"' {
		return json.UnmarshalDecode(in, (*[]string)(a))
	}
	*a = make(audience, 1)
	return json.UnmarshalDecode(in, &(*a)[0])
}

// strict refuses null, which json would take for the zero value.
var strict = json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(notNull[string]), json.UnmarshalFromFunc(notNull[float64])))

func notNull[T any](in *jsontext.Decoder, _ *T) error {
	if in.PeekKind() == 'n' {
		return ErrClaimType
	}
	return errors.ErrUnsupported // json.UnmarshalFromFunc: go on as usual
}

// readClaims reads claims strictly: names match exactly, a repeated name, in
// members that do not matter as well, invalid UTF-8 and a wrong type are refused.
// encoding/json would take AUD for aud, and the last of two.
func readClaims(text []byte) (c claims, err error) {
	err = json.Unmarshal(text, &c, strict)
	_, wrongType := errors.AsType[*json.SemanticError](err)
	switch {
	case wrongType:
		return c, ErrClaimType
	case err != nil:
		return c, errNotJSON // the text of err may quote the claims
	case strings.TrimSpace(c.Subject) == "":
		return c, ErrSubject
	case c.ExpiresAt <= 0, c.ExpiresAt > latestDate, math.Abs(c.NotBefore) > latestDate:
		return c, ErrExpiry
	}
	return c, nil
}

// check refuses a token at the very moment of exp (RFC 7519 §4.1.4: "on or
// after"), and before nbf.
func (v validity) check(now time.Time, leeway time.Duration) error {
	switch seconds, slack := unixSeconds(now), leeway.Seconds(); {
	case seconds >= v.ExpiresAt+slack:
		return ErrExpired
	case seconds < v.NotBefore-slack:
		return ErrNotYetValid
	}
	return nil
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixNano()) / float64(time.Second) }
