package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// Bounds on what golang-jwt decodes before it asks for a key. It makes Go
// values of the header, each object of hundreds of bytes; the claims it only
// scans, with a stack as deep as they are nested.
const (
	maxHeader       = 2 << 10 // bytes of the header, in base64url
	maxHeaderValues = 32      // commas, objects and lists in it
	maxClaimsDepth  = 32      // objects and lists in each other
	// maxSigned bounds a token that a secret may have signed, in bytes: the HMAC of
	// each kilobyte takes most of a microsecond, for a forgery too.
	maxSigned = 8 << 10
)

// Why the form of a token is refused.
var (
	errTooLong     = errors.New("the token is longer than 8 KiB")
	errParts       = errors.New("the token has not three parts")
	errBase64      = errors.New("a part of the token is not canonical base64url")
	errHeaderSize  = errors.New("the token header is too large")
	errHeader      = errors.New("the token header is not one JSON object with unique names, alg and kid strings")
	errCritical    = errors.New("the token header demands an extension that is not known here")
	errClaimsDepth = errors.New("the claims are nested too deep")
)

var strictBase64 = base64.RawURLEncoding.Strict()

// header is the part of a JOSE header (RFC 7515 §4) that matters here. No
// other member is looked at, so nothing that a header points at (jku, x5u,
// jwk) is ever fetched or opened.
type header struct {
	segment   string         // as the token has it
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"` // empty for none
	Critical  jsontext.Value `json:"crit"`
}

// readHeader decodes the header segment of a token and holds it to what
// golang-jwt leaves open: exact and unique names, one spelling, no crit (RFC
// 7515 §4.1.11).
func readHeader(segment string) (*header, error) {
	if len(segment) > maxHeader {
		return nil, errHeaderSize
	}
	text, err := strictBase64.DecodeString(segment)
	if err != nil || !canonical(segment) {
		return nil, errBase64
	}
	if bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("["))+bytes.Count(text, []byte(",")) > maxHeaderValues {
		return nil, errHeaderSize
	}
	h := &header{segment: strings.Clone(segment)}
	if err := json.Unmarshal(text, h, strict); err != nil {
		return nil, errHeader
	}
	if h.Critical != nil {
		return nil, errCritical
	}
	return h, nil
}

// checkDepth refuses claims that are nested too deep or no JSON at all, without
// making anything of them.
func checkDepth(segment string) error {
	text, err := strictBase64.DecodeString(segment)
	if err != nil {
		return errBase64
	}
	in := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))
	for err == nil && in.StackDepth() <= maxClaimsDepth {
		_, err = in.ReadToken()
	}
	switch {
	case err == nil:
		return errClaimsDepth
	case errors.Is(err, io.EOF):
		return nil
	}
	return errNotJSON
}

// canonical reports whether a base64url segment has the one spelling of its
// bytes: without line breaks, and with zeros for the unused last bits. Go's
// lenient decoder, which golang-jwt uses, ignores both.
func canonical(segment string) bool {
	var last [3]byte
	_, err := strictBase64.Decode(last[:], []byte(segment[len(segment)&^3:]))
	return err == nil && !strings.ContainsAny(segment, "\r\n")
}

// latestDate bounds NumericDate claims (RFC 7519 §2) to the end of the year
// 9999, far below any overflow of the arithmetic on them.
const latestDate = 253402300799

// maxSubject bounds the claim sub, in bytes (OpenID Connect Core §2). PostgreSQL holds no
// NUL, and no key of 2.7 KB.
const maxSubject = 255

// Why claims are refused. No reason to refuse a token repeats a part of it.
var (
	ErrSubject       = errors.New("the claim sub is missing, empty, longer than 255 bytes, or has a NUL")
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
	case strings.TrimSpace(c.Subject) == "", len(c.Subject) > maxSubject, strings.Contains(c.Subject, "\x00"):
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
