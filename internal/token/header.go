package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
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
