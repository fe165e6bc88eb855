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

var (
	errModulus  = errors.New("its modulus is not an odd number of 2048 to 8192 bits")
	errExponent = errors.New("its exponent is not an odd number from 3 to 2^31-1")
	errPoint    = errors.New("its coordinates are no point of the curve")
	errBase64   = errors.New("a member is not base64url without padding")
)

// rsa decodes an RSA key (RFC 7518 §6.3.1). Leading zero bytes, which some
// issuers write, change nothing.
func (w *wireKey) rsa() (publicKey, error) {
	n, err := decode(w.N)
	if err != nil {
		return nil, err
	}
	e, err := decode(w.E)
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minModulus || bits > maxModulus || modulus.Bit(0) == 0 {
		return nil, errModulus
	}
	if exponent.Cmp(big.NewInt(3)) < 0 || exponent.Cmp(big.NewInt(math.MaxInt32)) > 0 || exponent.Bit(0) == 0 {
		return nil, errExponent
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// p256 decodes a key on P-256, its coordinates in full size (RFC 7518 §6.2.1).
func (w *wireKey) p256() (publicKey, error) {
	point := []byte{uncompressedPoint}
	for _, text := range []string{w.X, w.Y} {
		coordinate, err := decode(text)
		if err != nil {
			return nil, err
		}
		if len(coordinate) != coordinateSize {
			return nil, errPoint
		}
		point = append(point, coordinate...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, errPoint
	}
	return public, nil
}

// ed25519 decodes an Ed25519 key (RFC 8037 §2).
func (w *wireKey) ed25519() (publicKey, error) {
	public, err := decode(w.X)
	if err != nil {
		return nil, err
	}
	if len(public) != ed25519.PublicKeySize {
		return nil, errPoint
	}
	return ed25519.PublicKey(public), nil
}

// decode reads base64url without padding (RFC 7515 §2); nothing is an error.
func decode(text string) ([]byte, error) {
	if text == "" {
		return nil, errMembers
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errBase64
	}
	return data, nil
}
