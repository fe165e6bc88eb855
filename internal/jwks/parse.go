package jwks

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxDocument bounds a document, in bytes. Sets with certificate chains of
	// large issuers take about 20 KiB.
	maxDocument = 256 << 10
	// maxKeys bounds the keys of a document, usable or not.
	maxKeys = 100
)

// Why a document is refused as a whole: it is no JWK Set, or something is wrong
// with its publisher, and half of it must not come into force.
var (
	errTooLarge   = fmt.Errorf("the document is larger than %d KiB", maxDocument>>10)
	errNotJSON    = errors.New("the document is not one JSON object with unique names")
	errNoList     = errors.New(`the document has no list "keys"`)
	errTooMany    = fmt.Errorf("the document has more than %d keys", maxKeys)
	errNoneUsable = errors.New("the document has no key for RS256, ES256 or EdDSA")
	errSymmetric  = errors.New("the document holds a symmetric key, which must never be published: take it out and replace the secret")
	errPrivate    = errors.New("the document holds a private key: publish the public part alone and replace that key")
	errSameID     = errors.New("two keys have the same kid")
)

// Parse reads a JWK Set (RFC 7517 §5). Keys of another use, type or algorithm
// and keys that are malformed or weak are skipped. The errors name no key.
func Parse(document []byte) (*Set, error) {
	if len(document) > maxDocument {
		return nil, errTooLarge
	}
	var wire struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(document, &wire); err != nil {
		if !jsontext.Value(document).IsValid() || jsontext.Value(document).Kind() != '{' {
			return nil, errNotJSON
		}
		return nil, errNoList
	}
	switch {
	case wire.Keys == nil:
		return nil, errNoList
	case len(wire.Keys) > maxKeys:
		return nil, errTooMany
	}
	return collect(wire.Keys)
}

func collect(values []jsontext.Value) (*Set, error) {
	set := &Set{}
	ids := map[string]bool{}
	for _, value := range values {
		k, err := parseKey(value)
		switch {
		case errors.Is(err, errSymmetric), errors.Is(err, errPrivate):
			return nil, err
		case err != nil:
			set.skipped = append(set.skipped, Skipped{ID: k.id, Reason: err.Error()})
			continue
		case ids[k.id]:
			return nil, errSameID
		}
		ids[k.id] = k.id != ""
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, errNoneUsable
	}
	return set, nil
}
