// Package jwks keeps the public keys that verify callers' tokens: parsed from
// a JSON Web Key Set (RFC 7517), out of a file or fetched from a URL in the
// background, never while a request waits.
//
// A key is bound to one algorithm when it is parsed, and is found for tokens
// of that algorithm only, so that no header of a token can choose what its key
// is used for (RFC 8725 §3.1).
package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
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
	maxDocument = 256 << 10 // bytes; sets with certificate chains of large issuers take about 20 KiB
	maxKeys     = 100       // usable or not
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

// Set is a set of keys, which must not be changed. The zero Set holds none.
type Set struct {
	keys    []key
	Skipped []Skipped // keys of the document that are not usable
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

// Find returns the key for tokens of algorithm whose header names kid, nil when there
// is none. An empty kid finds the key of an algorithm that has only one: trying several
// would let a header without kid cost many verifications.
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
	return len(s.keys) == len(other.keys) && !slices.ContainsFunc(s.keys, func(k key) bool {
		return !slices.ContainsFunc(other.keys, func(o key) bool {
			return k.id == o.id && k.algorithm == o.algorithm && k.public.Equal(o.public)
		})
	})
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
			set.Skipped = append(set.Skipped, Skipped{ID: k.id, Reason: err.Error()})
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
		return nil, err
	}
	return Parse(document)
}

const (
	// minModulus is what RFC 7518 §3.3 demands, maxModulus bounds what one
	// verification may cost, in bits.
	minModulus        = 2048
	maxModulus        = 8192
	coordinateSize    = 32 // bytes of a coordinate of P-256
	uncompressedPoint = 4  // marks both coordinates (SEC 1 §2.3.3)
)

// Why a key is skipped, as RFC 7517 §5 asks for what is not understood or out
// of range.
var (
	errMembers   = errors.New("it is no object, or a member is repeated or has a wrong type")
	errType      = errors.New("its type and curve are not RSA, EC with P-256 or OKP with Ed25519")
	errUse       = errors.New("it is not for signatures")
	errAlgorithm = errors.New("its algorithm is not RS256, ES256 or EdDSA, or does not belong to its type")
	errModulus   = errors.New("its modulus is not an odd number of 2048 to 8192 bits, in base64url")
	errExponent  = errors.New("its exponent is not an odd number from 3 to 2^31-1, in base64url")
	errSameID    = errors.New("a key before it has the same kid and algorithm")
	errPoint     = errors.New("its coordinates are no point of the curve, in base64url")
)

// secretMembers are what only the owner of a key may know, whatever else the
// key says of itself (RFC 7518 §6.2.2, §6.3.2, §6.4).
var secretMembers = map[string]error{
	"k": errSymmetric, "d": errPrivate, "p": errPrivate, "q": errPrivate,
	"dp": errPrivate, "dq": errPrivate, "qi": errPrivate, "oth": errPrivate,
}

// wireKey holds the members of RFC 7517 §4, RFC 7518 §6 and RFC 8037 §2 that
// count here. Names match exactly.
type wireKey struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

// parseKey reads one key. Beside errSymmetric and errPrivate its errors mean
// that the key is to be skipped; its id is returned all the same.
func parseKey(value jsontext.Value) (k key, err error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members, repeated); err != nil {
		return k, errMembers
	}
	for name := range members {
		if err := secretMembers[name]; err != nil {
			return k, err
		}
	}
	_ = json.Unmarshal(members["kid"], &k.id) // else it has none
	var w wireKey
	if err := json.Unmarshal(value, &w); err != nil {
		return k, errMembers
	}
	// Both members may restrict a key, and either alone can exclude it
	// (RFC 7517 §4.2, §4.3).
	if w.Use != "" && w.Use != "sig" || w.Operations != nil && !slices.Contains(w.Operations, "verify") {
		return k, errUse
	}
	switch x, y := decode(w.X), decode(w.Y); {
	case w.Type == "RSA":
		k.algorithm = RS256
		k.public, err = w.rsa()
	case w.Type == "EC" && w.Curve == "P-256": // coordinates in full size (RFC 7518 §6.2.1)
		k.algorithm = ES256
		k.public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{uncompressedPoint}, x, y))
		if err != nil || len(x) != coordinateSize {
			err = errPoint
		}
	case w.Type == "OKP" && w.Curve == "Ed25519": // RFC 8037 §2
		k.algorithm = EdDSA
		k.public = ed25519.PublicKey(x)
		if len(x) != ed25519.PublicKeySize {
			err = errPoint
		}
	default:
		err = errType
	}
	if err == nil && w.Algorithm != "" && w.Algorithm != k.algorithm {
		err = errAlgorithm
	}
	return k, err
}

// rsa decodes an RSA key (RFC 7518 §6.3.1). Leading zero bytes, which some
// issuers write, change nothing.
func (w *wireKey) rsa() (publicKey, error) {
	modulus, exponent := new(big.Int).SetBytes(decode(w.N)), new(big.Int).SetBytes(decode(w.E))
	if bits := modulus.BitLen(); bits < minModulus || bits > maxModulus || modulus.Bit(0) == 0 {
		return nil, errModulus
	}
	e := exponent.Int64()
	if !exponent.IsInt64() || e < 3 || e > math.MaxInt32 || e%2 == 0 {
		return nil, errExponent
	}
	return &rsa.PublicKey{N: modulus, E: int(e)}, nil
}

// decode reads base64url without padding (RFC 7515 §2); nil for anything else,
// which is no key either.
func decode(text string) []byte {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil
	}
	return data
}
