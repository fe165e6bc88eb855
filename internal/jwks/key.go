package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// minModulus is what RFC 7518 §3.3 demands, maxModulus bounds what one
	// verification may cost, in bits.
	minModulus = 2048
	maxModulus = 8192
	// coordinateSize is the size of a coordinate of P-256, in bytes.
	coordinateSize = 32
	// uncompressedPoint marks both coordinates (SEC 1 §2.3.3).
	uncompressedPoint = 4
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
	switch {
	case w.Type == "RSA":
		k.algorithm = RS256
		k.public, err = w.rsa()
	case w.Type == "EC" && w.Curve == "P-256":
		k.algorithm = ES256
		k.public, err = w.p256()
	case w.Type == "OKP" && w.Curve == "Ed25519":
		k.algorithm = EdDSA
		k.public, err = w.ed25519()
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

// p256 decodes a key on P-256, its coordinates in full size (RFC 7518 §6.2.1).
func (w *wireKey) p256() (publicKey, error) {
	x, y := decode(w.X), decode(w.Y)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{uncompressedPoint}, x, y))
	if err != nil || len(x) != coordinateSize {
		return nil, errPoint
	}
	return public, nil
}

// ed25519 decodes an Ed25519 key (RFC 8037 §2).
func (w *wireKey) ed25519() (publicKey, error) {
	public := ed25519.PublicKey(decode(w.X))
	if len(public) != ed25519.PublicKeySize {
		return nil, errPoint
	}
	return public, nil
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
