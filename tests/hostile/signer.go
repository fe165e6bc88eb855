package hostile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
)

// Signer is a private key of an issuer.
type Signer struct {
	Algorithm, ID string
	private       crypto.Signer
}

// NewSigner makes a key for RS256, ES256 or EdDSA; an empty id is left out of
// its JWK and of the headers of its tokens.
func NewSigner(algorithm, id string) *Signer {
	s := &Signer{Algorithm: algorithm, ID: id}
	var err error
	switch algorithm {
	case "RS256":
		s.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		s.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, s.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no such algorithm: %s", algorithm)
	}
	if err != nil {
		panic(err)
	}
	return s
}

// Public is the public part of the key.
func (s *Signer) Public() crypto.PublicKey { return s.private.Public() }

// JWK is the public part as one key of a JWKS, with further raw members.
func (s *Signer) JWK(more ...string) string {
	var members []string
	switch public := s.Public().(type) {
	case *rsa.PublicKey:
		members = []string{`"kty":"RSA"`, member("n", public.N.Bytes()), member("e", big.NewInt(int64(public.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		members = []string{`"kty":"EC","crv":"P-256"`, member("x", point[1:33]), member("y", point[33:])}
	case ed25519.PublicKey:
		members = []string{`"kty":"OKP","crv":"Ed25519"`, member("x", public)}
	}
	if s.ID != "" {
		members = append(members, fmt.Sprintf(`"kid":%q`, s.ID))
	}
	return "{" + strings.Join(append(members, more...), ",") + "}"
}

func member(name string, value []byte) string {
	return fmt.Sprintf(`%q:%q`, name, base64.RawURLEncoding.EncodeToString(value))
}

// JWKS is a document of keys.
func JWKS(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// Header is the header of an ordinary token of s.
func (s *Signer) Header() string {
	if s.ID == "" {
		return fmt.Sprintf(`{"alg":%q}`, s.Algorithm)
	}
	return fmt.Sprintf(`{"alg":%q,"kid":%q}`, s.Algorithm, s.ID)
}

// Token is an ordinary token of s.
func (s *Signer) Token(claims Claims) string { return s.Sign(s.Header(), claims.String()) }

// Sign makes a token of header and claims exactly as they are spelled, signed
// the way of s whatever the header says.
func (s *Signer) Sign(header, claims string) string {
	text := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch private := s.private.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		var r, v *big.Int
		if r, v, err = ecdsa.Sign(rand.Reader, private, digest[:]); err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(text))
	}
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Issuer has a key for each algorithm.
type Issuer struct{ RSA, EC, Ed *Signer }

func NewIssuer() Issuer {
	return Issuer{NewSigner("RS256", "r"), NewSigner("ES256", "e"), NewSigner("EdDSA", "d")}
}

func (i Issuer) Signers() []*Signer { return []*Signer{i.RSA, i.EC, i.Ed} }
