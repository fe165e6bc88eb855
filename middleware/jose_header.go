package middleware

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// Why a header is refused. The texts name what is wrong, never what was sent.
var (
	errHeader        = errors.New("the token header is not one JSON object with unique names")
	errAlgorithm     = errors.New("the token is not signed with an accepted algorithm")
	errCritical      = errors.New("the token header demands an extension that is not known here")
	errKeyID         = errors.New("the kid of the token is no string")
	errBase64        = errors.New("a part of the token is not canonical base64url")
	errEmptySegments = errors.New("a part of the token is empty")
)

// The accepted algorithms (RFC 7518 §3.1, RFC 8037 §3.1).
var (
	hs256 = jwt.SigningMethodHS256.Alg()
	rs256 = jwt.SigningMethodRS256.Alg()
	es256 = jwt.SigningMethodES256.Alg()
	edDSA = jwt.SigningMethodEdDSA.Alg()
)

var strictBase64 = base64.RawURLEncoding.Strict()

// checkHeader holds the JOSE header of a token to what golang-jwt leaves open:
// exact and unique names, a known algorithm, no `crit` (RFC 7515 §4.1.11), one
// spelling of each part. It reads no other member, so nothing that a header
// points at (jku, x5u, jwk) is ever fetched or opened.
func (a *Authenticator) checkHeader(raw string) (*joseHeader, error) {
	segment, rest, _ := strings.Cut(raw, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	for _, segment := range [...]string{segment, claims, signature} {
		if segment == "" {
			return nil, errEmptySegments
		}
		if !canonicalBase64(segment) {
			return nil, errBase64
		}
	}
	return a.header(segment)
}

// header reads the header of a token, or remembers it.
func (a *Authenticator) header(segment string) (*joseHeader, error) {
	if last := a.lastHeader.Load(); last != nil && last.segment == segment {
		return last, nil
	}
	header, err := readHeader(strings.Clone(segment))
	if err == nil {
		a.lastHeader.Store(header)
	}
	return header, err
}

// joseHeader is a header that readHeader took. The tokens of an issuer have the
// same one until it rolls its key.
type joseHeader struct {
	segment   string // as it stands in the token
	algorithm string
	kid       string // a name to look for among the public keys; HS256 has none
}

// readHeader decodes one and holds it to the rules.
func readHeader(segment string) (*joseHeader, error) {
	header, err := strictBase64.DecodeString(segment)
	if err != nil {
		return nil, errBase64
	}
	var wire struct {
		Algorithm jsontext.Value `json:"alg"`
		Critical  jsontext.Value `json:"crit"`
		KeyID     jsontext.Value `json:"kid"`
	}
	if err := json.Unmarshal(header, &wire); err != nil {
		return nil, errHeader
	}
	algorithm, err := stringClaim(wire.Algorithm)
	if err != nil {
		return nil, errAlgorithm
	}
	if wire.Critical != nil {
		return nil, errCritical
	}
	known := &joseHeader{segment: segment, algorithm: algorithm}
	switch algorithm {
	case hs256:
		return known, nil
	case rs256, es256, edDSA:
	default:
		return nil, errAlgorithm
	}
	if wire.KeyID == nil {
		return known, nil
	}
	if known.kid, err = stringClaim(wire.KeyID); err != nil {
		return nil, errKeyID
	}
	return known, nil
}

// canonicalBase64 reports unpadded base64url whose unused last bits are zero,
// so that no two spellings of one token verify. Go's lenient decoder ignores
// those bits and line breaks.
func canonicalBase64(segment string) bool {
	for i := range len(segment) {
		if sextet(segment[i]) < 0 {
			return false
		}
	}
	last := sextet(segment[len(segment)-1])
	switch len(segment) % 4 {
	case 1:
		return false
	case 2:
		return last&0b1111 == 0
	case 3:
		return last&0b11 == 0
	}
	return true
}

// sextets holds the value of each base64url character, and of any other byte -1.
var sextets = func() (table [256]int8) {
	for c := range table {
		table[c] = int8(strings.IndexByte(alphabet, byte(c)))
	}
	return table
}()

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// sextet is the value of one base64url character, -1 for any other byte.
func sextet(c byte) int { return int(sextets[c]) }
