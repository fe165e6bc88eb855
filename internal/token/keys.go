package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"github.com/busdk/bus-api-provider-vm/internal/files"
	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/secret"
)

// Why no key verifies a token.
var (
	ErrNoKeys     = errors.New("a verification secret or public keys are needed, and no secret may be empty")
	ErrNoKeysYet  = errors.New("the token is signed with a public key, and there are none yet")
	ErrAlgorithm  = errors.New("the token is not signed with an accepted algorithm")
	ErrUnknownKey = errors.New("the token is signed with a key that is not known here")
)

// hs256 and publicAlgorithms are the accepted algorithms (RFC 7518 §3.1, RFC
// 8037 §3.1).
var (
	hs256            = jwt.SigningMethodHS256.Alg()
	publicAlgorithms = []string{jwks.RS256, jwks.ES256, jwks.EdDSA}
)

// PublicKeys verify tokens that are not signed with a secret.
type PublicKeys = *jwks.Set

// keyRing is one generation of keys with the tokens they verified, so that replacing
// the keys forgets those tokens in the same step. The algorithm of a token says whether
// secrets or public keys verify it, so neither is taken for the other (RFC 8725 §2.1).
type keyRing struct {
	secrets  any          // for HS256: a jwt.VerificationKeySet, whose keys golang-jwt tries in turn
	macs     []*sync.Pool // of *mac, one for each secret
	public   PublicKeys   // for the other algorithms; nil for none
	verified *cache
}

// find returns what golang-jwt is to verify a token of algorithm with.
func (r *keyRing) find(algorithm, kid string) (any, error) {
	switch {
	case algorithm == hs256 && len(r.macs) > 0:
		return r.secrets, nil
	case r.public == nil, !slices.Contains(publicAlgorithms, algorithm):
		return nil, ErrAlgorithm
	case r.public.Len() == 0:
		return nil, ErrNoKeysYet
	}
	if key := r.public.Find(algorithm, kid); key != nil {
		return key, nil
	}
	return nil, ErrUnknownKey
}

// signed reports whether one of the secrets made signature of text. It compares
// the texts of the signatures, so that each has one spelling.
func (r *keyRing) signed(text, signature string) bool {
	return slices.ContainsFunc(r.macs, func(pool *sync.Pool) bool {
		m := pool.Get().(*mac)
		defer pool.Put(m)
		m.Reset()
		m.Write(bytesOf(text))
		base64.RawURLEncoding.Encode(m.text[:], m.Sum(m.sum[:0]))
		return hmac.Equal(m.text[:], bytesOf(signature))
	})
}

// mac makes signatures with one secret, in a third of the time of golang-jwt
// and without an allocation, which is what a flood of forgeries costs.
type mac struct {
	hash.Hash
	sum  [sha256.Size]byte
	text [43]byte // the sum in base64url
}

// bytesOf is s without a copy, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// SetSecrets replaces the secrets with copies of secrets. Tokens that only a
// removed one verified are refused from then on, remembered or not. There may
// be none if there are public keys; then HS256 is refused.
func (v *Verifier) SetSecrets(secrets [][]byte) error {
	var set jwt.VerificationKeySet
	var macs []*sync.Pool
	for _, secret := range secrets {
		if len(secret) == 0 {
			return ErrNoKeys
		}
		secret = bytes.Clone(secret) // the caller may wipe its own
		set.Keys = append(set.Keys, secret)
		macs = append(macs, &sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }})
	}
	return v.replace(func(ring *keyRing) { ring.secrets, ring.macs = set, macs })
}

// SetPublicKeys replaces the public keys, likewise.
func (v *Verifier) SetPublicKeys(public PublicKeys) error {
	return v.replace(func(ring *keyRing) { ring.public = public })
}

// replace begins a generation of keys with the present ones, edited.
func (v *Verifier) replace(edit func(*keyRing)) error {
	v.setting.Lock()
	defer v.setting.Unlock()
	ring := *v.ring.Load()
	edit(&ring)
	if len(ring.macs) == 0 && ring.public == nil {
		return ErrNoKeys
	}
	ring.verified = newCache(v.config.CacheSize)
	v.ring.Store(&ring)
	return nil
}

// ParseSecret returns text as it is, also when it looks like base64, and
// decodes what follows `base64:`. No error of this file holds a secret.
func ParseSecret(text string) ([]byte, error) {
	secret := []byte(text)
	var err error
	if encoded, ok := strings.CutPrefix(text, "base64:"); ok {
		secret, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	}
	switch {
	case err != nil:
		return nil, errors.New("what follows base64: is not base64")
	case len(secret) == 0:
		return nil, errors.New("the secret is empty")
	}
	return secret, nil
}

// maxSecrets bounds a file of secrets, in bytes.
const maxSecrets = 1 << 20

// ReadSecrets reads a file of secrets, one a line; blank lines, comments that
// begin with # and byte order marks do not count: a file that was joined of
// several has them inside. There is at least one.
func ReadSecrets(path string) (secrets [][]byte, err error) {
	text, err := files.Read(path, maxSecrets)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w; want a file that this service's user can read, one secret a line", err)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("the file is in UTF-16; save it as UTF-8")
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = secret.Trim(line)
		if line == "" || line[0] == '#' {
			continue
		}
		one, err := ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the file: %w", i+1, err)
		}
		secrets = append(secrets, one)
	}
	if len(secrets) == 0 {
		return nil, errors.New("the file holds no secret; want one secret a line")
	}
	return secrets, nil
}

// DevSubject is the account of minted tokens by default: a UUID, so
// that billing and usage accept it.
const DevSubject = "00000000-0000-4000-8000-000000000001"

// Claims is what a token says.
type Claims struct {
	Subject  string
	Audience string
	Scope    string        // the scopes, separated by spaces (RFC 8693 §4.2)
	TTL      time.Duration // from now to exp, at least a second
}

// Mint signs c with secret, by HS256: for development and smoke checks;
// production tokens come from the platform. The token expires c.TTL after now,
// less the fraction of a second that NumericDate drops here (RFC 7519 §2).
func Mint(secret []byte, c Claims, now time.Time) (string, error) {
	switch {
	case c.Subject == "":
		return "", errors.New("the subject is empty")
	case c.Audience == "":
		return "", errors.New("the audience is empty")
	case c.TTL < time.Second:
		return "", errors.New("the lifetime (--ttl) is less than a second")
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": c.Subject, "aud": c.Audience, "scope": c.Scope,
		"iat": now.Unix(), "exp": now.Add(c.TTL).Unix(),
	}).SignedString(secret)
}
