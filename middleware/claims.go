package middleware

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// latestDate bounds NumericDate claims (RFC 7519 §2) to the end of the year
// 9999, far below any overflow of the arithmetic on them.
const latestDate = 253402300799

// Why a token is refused. The texts name what is wrong, never what was sent.
var (
	errNotJSON        = errors.New("the claims are not one JSON object with unique names")
	errNoSubject      = errors.New("the claim sub is missing, empty or no string")
	errNoExpiry       = errors.New("the claim exp is missing or no number")
	errNotBeforeType  = errors.New("the claim nbf is no number")
	errAudienceType   = errors.New("the claim aud is neither a string nor a list of strings")
	errScopeType      = errors.New("the claim scope is no string")
	errExpired        = errors.New("the token has expired")
	errNotYetValid    = errors.New("the token is not valid yet")
	errWrongAudience  = errors.New("the token is meant for another audience")
	errDateOutOfRange = errors.New("a date is out of range")
)

// tokenClaims are the claims this gateway reads, decoded strictly: names match
// exactly, a repeated name or a wrong type is refused. encoding/json would
// take AUD for aud and the last of two.
type tokenClaims struct {
	subject   string
	audience  []string
	scopes    []string
	expiresAt float64 // seconds since the epoch; RFC 7519 allows fractions
	notBefore float64 // 0 when absent
}

// UnmarshalJSON decodes the claims set of a JWT.
func (c *tokenClaims) UnmarshalJSON(data []byte) error {
	if c.readPlain(data) {
		return nil
	}
	*c = tokenClaims{}
	return c.readStrictly(data)
}

// readStrictly takes every spelling that JSON has, and says what is wrong.
func (c *tokenClaims) readStrictly(data []byte) error {
	var wire struct {
		Subject   jsontext.Value `json:"sub"`
		Audience  jsontext.Value `json:"aud"`
		Scope     jsontext.Value `json:"scope"`
		ExpiresAt jsontext.Value `json:"exp"`
		NotBefore jsontext.Value `json:"nbf"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return errNotJSON
	}
	var err error
	if c.subject, err = stringClaim(wire.Subject); err != nil || strings.TrimSpace(c.subject) == "" {
		return errNoSubject
	}
	if c.audience, err = audienceClaim(wire.Audience); err != nil {
		return err
	}
	if wire.Scope != nil {
		scope, err := stringClaim(wire.Scope)
		if err != nil {
			return errScopeType
		}
		// Only the ASCII space separates (RFC 6749 §3.3).
		c.scopes = strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' })
	}
	if c.expiresAt, err = dateClaim(wire.ExpiresAt, errNoExpiry); err != nil {
		return err
	}
	if c.expiresAt <= 0 {
		return errDateOutOfRange
	}
	if wire.NotBefore != nil {
		if c.notBefore, err = dateClaim(wire.NotBefore, errNotBeforeType); err != nil {
			return err
		}
	}
	return nil
}

// checkDates refuses a token at the very moment of exp (RFC 7519 §4.1.4: "on
// or after"), and before nbf.
func checkDates(expiresAt, notBefore float64, now time.Time, leeway time.Duration) error {
	seconds := float64(now.UnixNano()) / float64(time.Second)
	slack := leeway.Seconds()
	if seconds >= expiresAt+slack {
		return errExpired
	}
	if seconds < notBefore-slack {
		return errNotYetValid
	}
	return nil
}

func stringClaim(value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", errNotJSON
	}
	var text string
	err := json.Unmarshal(value, &text)
	return text, err
}

// audienceClaim takes a string or a list of strings (RFC 7519 §4.1.3).
func audienceClaim(value jsontext.Value) ([]string, error) {
	if text, err := stringClaim(value); err == nil {
		return []string{text}, nil
	}
	if value.Kind() != '[' {
		return nil, errAudienceType
	}
	var values []jsontext.Value
	if err := json.Unmarshal(value, &values); err != nil {
		return nil, errAudienceType
	}
	list := make([]string, len(values))
	for i, v := range values {
		text, err := stringClaim(v)
		if err != nil {
			return nil, errAudienceType
		}
		list[i] = text
	}
	return list, nil
}

// dateClaim reads a NumericDate: a JSON number of seconds, at most latestDate.
func dateClaim(value jsontext.Value, wrongType error) (float64, error) {
	if value.Kind() != '0' {
		return 0, wrongType
	}
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.Abs(seconds) > latestDate {
		return 0, errDateOutOfRange
	}
	return seconds, nil
}

// The registered-claims accessors of jwt.Claims answer "absent" on purpose:
// the library would check dates without the leeway, and an absent exp would
// pass. check does it all, after the signature.
func (c *tokenClaims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (c *tokenClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *tokenClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *tokenClaims) GetIssuer() (string, error)                   { return "", nil }
func (c *tokenClaims) GetSubject() (string, error)                  { return c.subject, nil }
func (c *tokenClaims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }
