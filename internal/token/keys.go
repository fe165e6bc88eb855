package token

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"slices"
	"sync"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
)

// Why no key verifies a token.
const (
	ErrNoKeys     = refusal("a verification secret or public keys are needed, and no secret may be empty")
	ErrAlgorithm  = refusal("the token is not signed with an accepted algorithm")
	ErrUnknownKey = refusal("the token is signed with a key that is not known here")
)

// hs256 and publicAlgorithms are the accepted algorithms (RFC 7518 §3.1, RFC
// 8037 §3.1).
var (
	hs256            = jwt.SigningMethodHS256.Alg()
	publicAlgorithms = []string{jwt.SigningMethodRS256.Alg(), jwt.SigningMethodES256.Alg(), jwt.SigningMethodEdDSA.Alg()}
)

// PublicKeys is an immutable set of public keys for tokens that are not signed
// with a secret.
type PublicKeys interface {
	// Find returns the one key for tokens of algorithm (RS256, ES256 or EdDSA)
	// whose header names kid, which is empty when it names none; nil when there
	// is no such key. A key is an *rsa.PublicKey, an *ecdsa.PublicKey on P-256
	// or an ed25519.PublicKey, and is found for its own algorithm only.
	Find(algorithm, kid string) crypto.PublicKey
}

// keyRing is one generation of keys with the tokens they verified, so that
// replacing the keys forgets those tokens in the same step. Secrets and public
// keys never mix: the algorithm of a token says which of the two can verify it,
// so no public key is ever taken for a secret (RFC 8725 §2.1).
type keyRing struct {
	secrets  *secrets   // for HS256; nil for none
	public   PublicKeys // for the others; nil for none
	verified *cache
}

// find returns what golang-jwt is to verify a token of algorithm with.
func (r *keyRing) find(algorithm, kid string) (any, error) {
	switch {
	case algorithm == hs256 && r.secrets != nil:
		return r.secrets.set, nil
	case r.public == nil, !slices.Contains(publicAlgorithms, algorithm):
		return nil, ErrAlgorithm
	}
	if key := r.public.Find(algorithm, kid); key != nil {
		return key, nil
	}
	return nil, ErrUnknownKey
}

// secrets are the keys of HS256.
type secrets struct {
	set  any          // a jwt.VerificationKeySet, which golang-jwt tries in turn
	macs []*sync.Pool // of *mac, one for each secret
}

// newSecrets copies keys, nil if there are none.
func newSecrets(keys [][]byte) (*secrets, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var set jwt.VerificationKeySet
	var s secrets
	for _, key := range keys {
		if len(key) == 0 {
			return nil, ErrNoKeys
		}
		key = bytes.Clone(key) // the caller may wipe its own
		set.Keys = append(set.Keys, key)
		s.macs = append(s.macs, &sync.Pool{New: func() any { return &mac{hash: hmac.New(sha256.New, key)} }})
	}
	s.set = set
	return &s, nil
}

// signed reports whether one of the secrets made signature of text. It compares
// the texts of the signatures, so that each has one spelling.
func (s *secrets) signed(text, signature string) bool {
	for _, pool := range s.macs {
		m := pool.Get().(*mac)
		same := hmac.Equal(m.of(text), bytesOf(signature))
		pool.Put(m)
		if same {
			return true
		}
	}
	return false
}

// mac makes signatures with one secret, without an allocation.
type mac struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	text [43]byte // the sum in base64url
}

func (m *mac) of(text string) []byte {
	m.hash.Reset()
	m.hash.Write(bytesOf(text))
	base64.RawURLEncoding.Encode(m.text[:], m.hash.Sum(m.sum[:0]))
	return m.text[:]
}

// bytesOf is s without a copy, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
