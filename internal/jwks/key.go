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
	errMembers   = errors.New("a member is missing, has a wrong type or is not base64url without padding")
	errType      = errors.New("its type is not RSA, EC or OKP")
	errCurve     = errors.New("its curve is not P-256 or Ed25519")
	errUse       = errors.New("it is not for signatures")
	errAlgorithm = errors.New("its algorithm is not RS256, ES256 or EdDSA, or does not belong to its type")
	errModulus   = errors.New("its modulus is not an odd number of 2048 to 8192 bits")
	errExponent  = errors.New("its exponent is not an odd number from 3 to 2^31-1")
	errPoint     = errors.New("its coordinates are no point of the curve")
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
	if err := json.Unmarshal(value, &members); err != nil {
		return k, errMembers
	}
	for name := range members {
		if err := secretMembers[name]; err != nil {
			return k, err
		}
	}
	var w wireKey
	if err := json.Unmarshal(value, &w); err != nil {
		return k, errMembers
	}
	k.id = w.ID
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
	case w.Type == "EC", w.Type == "OKP":
		err = errCurve
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
	parts, err := decode(anySize, w.N, w.E)
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(parts[0]), new(big.Int).SetBytes(parts[1])
	if bits := modulus.BitLen(); bits < minModulus || bits > maxModulus || modulus.Bit(0) == 0 {
		return nil, errModulus
	}
	if e := exponent.Int64(); !exponent.IsInt64() || e < 3 || e > math.MaxInt32 || e%2 == 0 {
		return nil, errExponent
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// p256 decodes a key on P-256, its coordinates in full size (RFC 7518 §6.2.1).
func (w *wireKey) p256() (publicKey, error) {
	parts, err := decode(coordinateSize, w.X, w.Y)
	if err != nil {
		return nil, err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{uncompressedPoint}, parts[0], parts[1]))
	if err != nil {
		return nil, errPoint
	}
	return public, nil
}

// ed25519 decodes an Ed25519 key (RFC 8037 §2).
func (w *wireKey) ed25519() (publicKey, error) {
	parts, err := decode(ed25519.PublicKeySize, w.X)
	if err != nil {
		return nil, err
	}
	return ed25519.PublicKey(parts[0]), nil
}

const anySize = 0

// decode reads members of size bytes in base64url without padding (RFC 7515 §2).
func decode(size int, members ...string) (parts [][]byte, err error) {
	for _, text := range members {
		part, err := base64.RawURLEncoding.Strict().DecodeString(text)
		switch {
		case err != nil, len(part) == 0:
			return nil, errMembers
		case size != anySize && len(part) != size:
			return nil, errPoint
		}
		parts = append(parts, part)
	}
	return parts, nil
}
