// Package jwks keeps the public keys that verify callers' tokens: parsed from
// a JSON Web Key Set (RFC 7517), out of a file or fetched from a URL in the
// background, never while a request waits.
//
// A key is bound to one algorithm when it is parsed, and is found for tokens
// of that algorithm only, so that no header of a token can choose what its key
// is used for (RFC 8725 §3.1). Secrets have no place here: a document with a
// symmetric or a private key is refused.
package jwks

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/busdk/bus-api-provider-vm/internal/files"
)

// The algorithms of RFC 7518 §3.1 and RFC 8037 §3.1 that a key may be for.
const (
	RS256 = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits or more
	ES256 = "ES256" // ECDSA on P-256 with SHA-256
	EdDSA = "EdDSA" // Ed25519
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
	errNotJSON    = errors.New("the document is not one JSON object with unique names and a list named keys")
	errTooMany    = fmt.Errorf("the document has more than %d keys", maxKeys)
	errNoneUsable = errors.New("the document has no key for RS256, ES256 or EdDSA")
	errSymmetric  = errors.New("the document holds a symmetric key, which must never be published: take it out and replace the secret")
	errPrivate    = errors.New("the document holds a private key: publish the public part alone and replace that key")
)

// Set is an immutable set of keys. The zero Set holds none.
type Set struct {
	keys    []key
	skipped []Skipped
}

// Skipped is a key of the document that no token is verified with, and why.
type Skipped struct{ ID, Reason string }

type key struct {
	id        string // empty for none
	algorithm string
	public    publicKey
}

// publicKey is what *rsa.PublicKey, *ecdsa.PublicKey and ed25519.PublicKey
// have in common.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// Find returns the key for tokens that are signed with algorithm and name kid
// in their header, nil when there is none. An empty kid finds the key of an
// algorithm that has only one: trying several would let a header without kid
// cost many verifications.
func (s *Set) Find(algorithm, kid string) (found crypto.PublicKey) {
	for _, k := range s.keys {
		switch {
		case k.algorithm != algorithm || kid != "" && k.id != kid:
		case found != nil:
			return nil
		default:
			found = k.public
		}
	}
	return found
}

// Len is the number of usable keys.
func (s *Set) Len() int { return len(s.keys) }

// Skipped lists the keys of the document that are not usable.
func (s *Set) Skipped() []Skipped { return slices.Clone(s.skipped) }

// IDs lists the key ids with the algorithm of each, such as `2026-01 (ES256)`.
func (s *Set) IDs() (ids []string) {
	for _, k := range s.keys {
		ids = append(ids, k.id+" ("+k.algorithm+")")
	}
	return ids
}

// Equal reports whether both sets verify the same tokens, in whatever order
// their documents list the keys.
func (s *Set) Equal(other *Set) bool {
	same := func(k key) bool {
		return slices.ContainsFunc(other.keys, func(o key) bool {
			return k.id == o.id && k.algorithm == o.algorithm && k.public.Equal(o.public)
		})
	}
	return len(s.keys) == len(other.keys) && !slices.ContainsFunc(s.keys, func(k key) bool { return !same(k) })
}

// Parse reads a JWK Set (RFC 7517 §5). Keys of another use, type or algorithm,
// keys that are malformed or weak, and a second key that tokens would name
// alike are skipped. The errors name no key.
func Parse(document []byte) (*Set, error) {
	if len(document) > maxDocument {
		return nil, errTooLarge
	}
	// Its own names are unique; those within a key are that key's matter.
	var members map[string]member
	var keys []jsontext.Value
	if json.Unmarshal(document, &members, repeated) != nil || json.Unmarshal(members["keys"], &keys, repeated) != nil || keys == nil {
		return nil, errNotJSON
	}
	if len(keys) > maxKeys {
		return nil, errTooMany
	}
	set := &Set{}
	for _, value := range keys {
		k, err := parseKey(value)
		if err == nil && k.id != "" && set.Find(k.algorithm, k.id) != nil {
			err = errSameID
		}
		switch err {
		case nil:
			set.keys = append(set.keys, k)
		case errSymmetric, errPrivate:
			return nil, err
		default:
			set.skipped = append(set.skipped, Skipped{ID: k.id, Reason: err.Error()})
		}
	}
	if len(set.keys) == 0 {
		return nil, errNoneUsable
	}
	return set, nil
}

// member is the value of a name that an object has once.
type member jsontext.Value

// UnmarshalJSONFrom has the value of a name that is repeated merged into the first.
func (m *member) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	value, err := in.ReadValue()
	if *m != nil {
		return errNotJSON
	}
	*m = member(value.Clone())
	return err
}

// repeated allows names that are repeated in one object.
var repeated = jsontext.AllowDuplicateNames(true)

// ReadFile reads the set in the file at path. Its errors do not name the file.
func ReadFile(path string) (*Set, error) {
	document, err := files.Read(path, maxDocument+1)
	if err != nil {
		return nil, cmp.Or(errors.Unwrap(err), err) // without the path
	}
	return Parse(document)
}
