package middleware

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"sync"

	"github.com/gofiber/fiber/v2/utils"
	"github.com/golang-jwt/jwt/v5"
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
	secrets  jwt.VerificationKeySet // for HS256; may be empty beside public
	signers  []*sync.Pool           // of *signer, one for each secret
	public   PublicKeys             // for the others; nil for none
	verified *tokenCache
}

var (
	errNoKeys     = errors.New("a verification secret or public keys are needed, and no secret may be empty")
	errUnknownKey = errors.New("the token is signed with a key that is not known here")
)

// SetSecrets replaces the verification secrets. Tokens that only a removed
// secret verified are refused from then on, remembered or not. There may be
// none if there are public keys; then HS256 is refused.
func (a *Authenticator) SetSecrets(secrets [][]byte) error {
	a.setting.Lock()
	defer a.setting.Unlock()
	var public PublicKeys
	if ring := a.ring.Load(); ring != nil {
		public = ring.public
	}
	return a.setKeys(secrets, public)
}

// SetPublicKeys replaces the public keys, likewise.
func (a *Authenticator) SetPublicKeys(public PublicKeys) error {
	a.setting.Lock()
	defer a.setting.Unlock()
	return a.setRing(a.ring.Load().secrets, public)
}

// setKeys begins a generation with copies of secrets.
func (a *Authenticator) setKeys(secrets [][]byte, public PublicKeys) error {
	keys, err := verificationKeys(secrets)
	if err != nil {
		return err
	}
	return a.setRing(keys, public)
}

func (a *Authenticator) setRing(secrets jwt.VerificationKeySet, public PublicKeys) error {
	if len(secrets.Keys) == 0 && public == nil {
		return errNoKeys
	}
	cache, err := newTokenCache(a.config.CacheSize)
	if err != nil {
		return err
	}
	ring := &keyRing{secrets: secrets, public: public, verified: cache}
	for _, secret := range secrets.Keys {
		ring.signers = append(ring.signers, &sync.Pool{New: func() any {
			return &signer{mac: hmac.New(sha256.New, secret.([]byte))}
		}})
	}
	a.ring.Store(ring)
	return nil
}

// signer makes HS256 signatures with one secret, and no garbage.
type signer struct {
	mac  hash.Hash
	sum  [sha256.Size]byte
	text [43]byte // the sum in base64url
}

// made reports whether signature is what the secret makes of signed.
func (s *signer) made(signed, signature []byte) bool {
	s.mac.Reset()
	s.mac.Write(signed)
	base64.RawURLEncoding.Encode(s.text[:], s.mac.Sum(s.sum[:0]))
	return hmac.Equal(s.text[:], signature)
}

// checkSignature refuses an HS256 token that none of the secrets signed. It is
// asked before claims are decoded, so that a flood of forgeries costs a
// fraction of accepting as many. What it lets pass is verified all the same.
func (a *Authenticator) checkSignature(ring *keyRing, token []byte) error {
	segment, rest, _ := bytes.Cut(token, []byte{'.'})
	if bytes.Count(rest, []byte{'.'}) != 1 {
		return nil // golang-jwt says what is wrong
	}
	header, err := a.header(utils.UnsafeString(segment)) // only compared, or copied
	if err != nil {
		return err
	}
	if header.algorithm != hs256 || len(ring.signers) == 0 {
		return nil
	}
	dot := bytes.LastIndexByte(token, '.')
	for _, pool := range ring.signers {
		s := pool.Get().(*signer)
		made := s.made(token[:dot], token[dot+1:])
		pool.Put(s)
		if made {
			return nil
		}
	}
	return jwt.ErrTokenSignatureInvalid
}

// verificationKeys turns HS256 secrets into the set that golang-jwt tries in turn.
func verificationKeys(secrets [][]byte) (jwt.VerificationKeySet, error) {
	var set jwt.VerificationKeySet
	for _, secret := range secrets {
		if len(secret) == 0 {
			return set, errNoKeys
		}
		set.Keys = append(set.Keys, bytes.Clone(secret)) // the caller may wipe its own
	}
	return set, nil
}

// key hands golang-jwt what may verify token, once its header has passed. It
// goes by the method that golang-jwt is about to verify with.
func (a *Authenticator) key(token *jwt.Token) (any, error) {
	header, err := a.checkHeader(token.Raw)
	if err != nil {
		return nil, err
	}
	ring, algorithm := a.ring.Load(), token.Method.Alg()
	switch {
	case algorithm == hs256 && len(ring.secrets.Keys) > 0:
		return ring.secrets, nil
	case algorithm == hs256 || ring.public == nil:
		return nil, errAlgorithm
	}
	if key := ring.public.Find(algorithm, header.kid); key != nil {
		return key, nil
	}
	if a.config.UnknownKey != nil {
		a.config.UnknownKey()
	}
	return nil, errUnknownKey
}
