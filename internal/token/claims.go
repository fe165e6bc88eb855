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

// Why claims are refused.
const (
	ErrSubject       = refusal("the claim sub is missing, empty or no string")
	ErrExpiry        = refusal("the claim exp is missing or no number")
	ErrExpired       = refusal("the token has expired")
	ErrNotYetValid   = refusal("the token is not valid yet")
	ErrWrongAudience = refusal("the token is meant for another audience")

	errNotJSON        = refusal("the claims are not one JSON object with unique names")
	errNotBeforeType  = refusal("the claim nbf is no number")
	errAudienceType   = refusal("the claim aud is neither a string nor a list of strings")
	errScopeType      = refusal("the claim scope is no string")
	errDateOutOfRange = refusal("a date is out of range")
)

// refusal is a reason to refuse a token. It names what is wrong, never what
// was sent.
type refusal string

func (r refusal) Error() string { return string(r) }

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
	subject   string
	audience  []string
	scope     string
	expiresAt float64 // seconds since the epoch; RFC 7519 §2 allows fractions
	notBefore float64 // 0 when absent
}

// read reads claims strictly: names match exactly, a repeated name or a wrong
// type is refused. encoding/json would take AUD for aud, and the last of two.
func (c *claims) read(text []byte) error {
	if err := json.Unmarshal(text, c); err != nil {
		if reason, ok := errors.AsType[refusal](err); ok {
			return reason
		}
		return errNotJSON // the text of err may quote the claims
	}
	switch {
	case strings.TrimSpace(c.subject) == "":
		return ErrSubject
	case c.audience == nil:
		return errAudienceType
	case c.expiresAt == 0:
		return ErrExpiry
	}
	return nil
}

// UnmarshalJSONFrom reads one JSON object. The decoder refuses repeated names
// and invalid UTF-8, in members that do not matter as well.
func (c *claims) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	if start, err := in.ReadToken(); err != nil || start.Kind() != '{' {
		return errNotJSON
	}
	for in.PeekKind() != '}' {
		name, err := in.ReadToken()
		if err != nil {
			return err
		}
		switch name.String() {
		case "sub":
			c.subject, err = readString(in, ErrSubject)
		case "aud":
			c.audience, err = readAudience(in)
		case "scope":
			c.scope, err = readString(in, errScopeType)
		case "exp":
			c.expiresAt, err = readDate(in, ErrExpiry)
			if err == nil && c.expiresAt <= 0 {
				err = errDateOutOfRange
			}
		case "nbf":
			c.notBefore, err = readDate(in, errNotBeforeType)
		default:
			err = in.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := in.ReadToken()
	return err
}

func readString(in *jsontext.Decoder, wrongType refusal) (string, error) {
	value, err := in.ReadToken()
	if err != nil {
		return "", err
	}
	if value.Kind() != '"' {
		return "", wrongType
	}
	return value.String(), nil
}

// readAudience takes a string or a list of strings (RFC 7519 §4.1.3).
func readAudience(in *jsontext.Decoder) ([]string, error) {
	if in.PeekKind() != '[' {
		audience, err := readString(in, errAudienceType)
		return []string{audience}, err
	}
	if _, err := in.ReadToken(); err != nil {
		return nil, err
	}
	list := []string{}
	for in.PeekKind() != ']' {
		audience, err := readString(in, errAudienceType)
		if err != nil {
			return nil, err
		}
		list = append(list, audience)
	}
	_, err := in.ReadToken()
	return list, err
}

// readDate takes a NumericDate: a number of seconds, at most latestDate.
func readDate(in *jsontext.Decoder, wrongType refusal) (float64, error) {
	value, err := in.ReadToken()
	if err != nil {
		return 0, err
	}
	if value.Kind() != '0' {
		return 0, wrongType
	}
	seconds, err := value.Float()
	if err != nil || math.Abs(seconds) > latestDate {
		return 0, errDateOutOfRange
	}
	return seconds, nil
}

// scopes splits at the ASCII space only (RFC 6749 §3.3).
func (c *claims) scopes() []string {
	return strings.FieldsFunc(c.scope, func(r rune) bool { return r == ' ' })
}

// checkDates refuses a token at the very moment of exp (RFC 7519 §4.1.4: "on
// or after"), and before nbf.
func checkDates(expiresAt, notBefore float64, now time.Time, leeway time.Duration) error {
	seconds, slack := unixSeconds(now), leeway.Seconds()
	if seconds >= expiresAt+slack {
		return ErrExpired
	}
	if seconds < notBefore-slack {
		return ErrNotYetValid
	}
	return nil
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixNano()) / float64(time.Second) }
