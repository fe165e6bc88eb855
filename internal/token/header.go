package token

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds on what golang-jwt decodes before it asks for a key. It makes Go
// values of the header, each object of hundreds of bytes; the claims it only
// scans, with a stack as deep as they are nested.
const (
	maxHeader       = 2 << 10 // bytes of the header, in base64url
	maxHeaderValues = 32      // commas, objects and lists in it
	maxClaimsDepth  = 32      // objects and lists in each other
)

// Why the form of a token is refused.
const (
	errParts       = refusal("the token has not three parts")
	errBase64      = refusal("a part of the token is not canonical base64url")
	errHeaderSize  = refusal("the token header is too large")
	errHeader      = refusal("the token header is not one JSON object with unique names, alg a string")
	errCritical    = refusal("the token header demands an extension that is not known here")
	errKeyID       = refusal("the kid of the token is no string")
	errClaimsDepth = refusal("the claims are nested too deep")
)

var strictBase64 = base64.RawURLEncoding.Strict()

// header is the part of a JOSE header (RFC 7515 §4) that matters here. No
// other member is looked at, so nothing that a header points at (jku, x5u,
// jwk) is ever fetched or opened.
type header struct {
	segment   string // as the token has it
	algorithm string
	keyID     string // empty for none
}

// readHeader decodes the header segment of a token and holds it to what
// golang-jwt leaves open: exact and unique names, one spelling, no crit (RFC
// 7515 §4.1.11).
func readHeader(segment string) (*header, error) {
	if len(segment) > maxHeader {
		return nil, errHeaderSize
	}
	text, err := strictBase64.DecodeString(segment)
	if err != nil {
		return nil, errBase64
	}
	if bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("["))+bytes.Count(text, []byte(",")) > maxHeaderValues {
		return nil, errHeaderSize
	}
	var wire struct {
		Algorithm string         `json:"alg"`
		KeyID     jsontext.Value `json:"kid"`
		Critical  jsontext.Value `json:"crit"`
	}
	if err := json.Unmarshal(text, &wire); err != nil {
		return nil, errHeader
	}
	if wire.Critical != nil {
		return nil, errCritical
	}
	h := &header{segment: strings.Clone(segment), algorithm: wire.Algorithm}
	if wire.KeyID != nil {
		if wire.KeyID.Kind() != '"' || json.Unmarshal(wire.KeyID, &h.keyID) != nil {
			return nil, errKeyID
		}
	}
	return h, nil
}

// checkClaims refuses claims that are not canonical base64url, or nested too
// deep. It decodes them piece by piece, without an allocation, and is exact up
// to the first syntax error, where a JSON decoder stops.
func checkClaims(segment string) error {
	var coded [1024]byte
	var text [768]byte
	depth, quoted, escaped := 0, false, false
	for len(segment) > 0 {
		n := copy(coded[:], segment)
		segment = segment[n:]
		n, err := strictBase64.Decode(text[:], coded[:n])
		if err != nil {
			return errBase64
		}
		for _, c := range text[:n] {
			switch {
			case escaped:
				escaped = false
			case quoted && c == '\\':
				escaped = true
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '{' || c == '[':
				if depth++; depth > maxClaimsDepth {
					return errClaimsDepth
				}
			case c == '}' || c == ']':
				depth--
			}
		}
	}
	return nil
}

// canonical reports whether the unused last bits of a base64url segment are
// zero, so that no two spellings of one token verify. Go's lenient decoder,
// which golang-jwt uses, ignores them.
func canonical(segment string) bool {
	var last [3]byte
	_, err := strictBase64.Decode(last[:], []byte(segment[len(segment)&^3:]))
	return err == nil
}
