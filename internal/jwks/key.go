package jwks

import (
	"errors"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Why a key is skipped, as RFC 7517 §5 asks for what is not understood or out
// of range.
var (
	errMembers   = errors.New("a member is missing or has a wrong type")
	errType      = errors.New("its type is not RSA, EC or OKP")
	errCurve     = errors.New("its curve is not P-256 or Ed25519")
	errUse       = errors.New("it is not for signatures")
	errAlgorithm = errors.New("its algorithm is not RS256, ES256 or EdDSA, or does not belong to its type")
)

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
func parseKey(value jsontext.Value) (key, error) {
	if err := checkPublic(value); err != nil {
		return key{}, err
	}
	var w wireKey
	if err := json.Unmarshal(value, &w); err != nil {
		return key{}, errMembers
	}
	k := key{id: w.ID}
	// Both members may restrict a key, and either alone can exclude it
	// (RFC 7517 §4.2, §4.3).
	if w.Use != "" && w.Use != "sig" || w.Operations != nil && !slices.Contains(w.Operations, "verify") {
		return k, errUse
	}
	decode, err := w.kind(&k)
	if err != nil {
		return k, err
	}
	if w.Algorithm != "" && w.Algorithm != k.algorithm {
		return k, errAlgorithm
	}
	k.public, err = decode()
	return k, err
}

// kind sets the one algorithm that keys like w are for, and returns how they
// are decoded.
func (w *wireKey) kind(k *key) (decode func() (publicKey, error), err error) {
	switch {
	case w.Type == "RSA":
		k.algorithm = RS256
		return w.rsa, nil
	case w.Type == "EC" && w.Curve == "P-256":
		k.algorithm = ES256
		return w.p256, nil
	case w.Type == "OKP" && w.Curve == "Ed25519":
		k.algorithm = EdDSA
		return w.ed25519, nil
	case w.Type == "EC", w.Type == "OKP":
		return nil, errCurve
	}
	return nil, errType
}

// checkPublic refuses what only the owner of a key may know, whatever else the
// key says of itself (RFC 7518 §6.2.2, §6.3.2, §6.4).
func checkPublic(value jsontext.Value) error {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil {
		return errMembers
	}
	if members["k"] != nil {
		return errSymmetric
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth"} {
		if members[name] != nil {
			return errPrivate
		}
	}
	return nil
}
