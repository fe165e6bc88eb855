package jwks

import (
	"crypto"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// The public keys of RFC 7517 appendix A.1 and RFC 8037 appendix A.2, and the
// private one of RFC 7517 appendix A.2.
const (
	rfcEC = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}`
	rfcRSA = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs` +
		`tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",` +
		`"e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	rfcEd25519 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfcPrivate = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","use":"enc","kid":"1"}`
)

func parsed(t testing.TB, keys ...string) *Set {
	t.Helper()
	set, err := Parse([]byte(hostile.JWKS(keys...)))
	require.NoError(t, err)
	return set
}

func TestKeysOfTheStandards(t *testing.T) {
	set := parsed(t, rfcEC, rfcRSA, rfcEd25519)
	assert.Equal(t, []string{"2011-04-29 (RS256)", " (EdDSA)"}, set.IDs())
	assert.Equal(t, []Skipped{{"1", "it is not for signatures"}}, set.Skipped)
}

// What a document says around its keys changes nothing.
func TestUsableKeys(t *testing.T) {
	i := hostile.NewIssuer()
	for _, c := range []struct {
		signer *hostile.Signer
		keys   []string
	}{
		{i.RSA, []string{i.RSA.JWK(), i.RSA.JWK(`"alg":"RS256"`), edit(i.RSA.JWK(), "e", `"AAEAAQ"`)}},
		{i.EC, []string{
			i.EC.JWK(), i.EC.JWK(`"alg":"ES256"`), i.EC.JWK(`"use":"sig"`), i.EC.JWK(`"key_ops":["sign","verify"]`),
			i.EC.JWK(`"use":"sig","key_ops":["verify"]`), strings.Replace(i.EC.JWK(), `"kty"`, `"\u006bty"`, 1),
			i.EC.JWK(`"x5c":["MII"],"x5t":"a","exp":1,"KID":"other","K":"c2VjcmV0"`),
		}},
		{i.Ed, []string{i.Ed.JWK(), i.Ed.JWK(`"alg":"EdDSA"`)}},
	} {
		for _, key := range c.keys {
			set := parsed(t, key)
			assert.Equal(t, 1, set.Len(), key)
			assert.Empty(t, set.Skipped, key)
			assert.Equal(t, c.signer.Public(), set.Find(c.signer.Algorithm, c.signer.ID), key)
		}
	}
}

// edit spells a member of a key in another way.
func edit(key, name, raw string) string {
	head, rest, found := strings.Cut(key, `"`+name+`":"`)
	if !found {
		panic("no member " + name)
	}
	_, tail, _ := strings.Cut(rest, `"`)
	return head + `"` + name + `":` + raw + tail
}

func TestSkippedKeys(t *testing.T) {
	rsa, ec, ed := hostile.NewSigner(RS256, "r").JWK, hostile.NewSigner(ES256, "e").JWK, hostile.NewSigner(EdDSA, "d").JWK
	zeros, ones := strings.Repeat("A", 42), func(n int) string { return strings.Repeat("_", n) }
	for want, keys := range map[error][]string{
		errType: {
			`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`, `{"kid":"x"}`, edit(ec(), "kty", `"ec"`),
			edit(ec(), "crv", `"P-384"`), edit(ec(), "crv", `"secp256k1"`), edit(ec(), "crv", `"Ed25519"`),
			edit(ed(), "crv", `"X25519"`), edit(ed(), "crv", `"P-256"`),
		},
		errMembers: {edit(ec(), "kty", `1`), edit(ec(), "kid", `7`), ec(`"key_ops":"verify"`), `"key"`},
		errUse: {
			ec(`"use":"enc"`), ec(`"use":"SIG"`), ec(`"key_ops":["sign"]`), ec(`"key_ops":[]`), ec(`"use":"sig","key_ops":["encrypt"]`),
		},
		errAlgorithm: {
			rsa(`"alg":"RS512"`), rsa(`"alg":"PS256"`), rsa(`"alg":"RSA-OAEP"`), rsa(`"alg":"HS256"`), rsa(`"alg":"ES256"`), rsa(`"alg":"none"`),
			ec(`"alg":"RS256"`), ec(`"alg":"ES384"`), ec(`"alg":"EdDSA"`), ed(`"alg":"ES256"`),
		},
		errModulus: {
			edit(rsa(), "n", `""`), edit(rsa(), "n", `"_`+strings.Repeat("A", 341)+`"`), // even
			edit(rsa(), "n", `"`+ones(340)+`"`), edit(rsa(), "n", `"f`+ones(340)+`w"`), // 2040 and 2047 bits
			edit(rsa(), "n", `"`+ones(1366)+`w"`), // 8200 bits
		},
		errExponent: {
			strings.Replace(rsa(), `"e"`, `"E"`, 1),
			edit(rsa(), "e", `"AQ"`), edit(rsa(), "e", `"Ag"`), edit(rsa(), "e", `"AQAA"`), // 1, 2, 65536
			edit(rsa(), "e", `"gAAAAQ"`), edit(rsa(), "e", `"AQAAAAAAAQAB"`), // 2^31+1, 2^64+65537
			edit(rsa(), "e", `"AQAB="`), edit(rsa(), "e", `"AR"`), // padded, with unused bits
		},
		errPoint: {
			strings.Replace(ec(), `"y"`, `"Y"`, 1), edit(ec(), "x", `"AQAB"`), edit(ec(), "y", `"AA`+zeros+`"`),
			edit(ec(), "y", `"`+zeros+`E"`), edit(ec(), "x", `"`+ones(42)+`8"`), // off the curve, beyond the field
			edit(edit(ec(), "x", `"`+zeros+`A"`), "y", `"`+zeros+`A"`),                                        // the point at infinity
			edit(ed(), "x", `"+`+zeros+`"`), edit(ed(), "x", `"`+zeros+`"`), edit(ed(), "x", `"`+zeros+`AA"`), // 31 and 33 bytes
		},
	} {
		for _, key := range keys {
			const beside = `{"kty":"OKP","crv":"Ed25519","kid":"good","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
			set := parsed(t, key, beside)
			assert.Equal(t, []string{"good (EdDSA)"}, set.IDs(), key)
			require.Len(t, set.Skipped, 1, key)
			assert.Equal(t, want.Error(), set.Skipped[0].Reason, key)
			_, err := Parse([]byte(hostile.JWKS(key)))
			assert.ErrorIs(t, err, errNoneUsable, "alone: %s", key)
		}
	}
}

func TestRefusedDocuments(t *testing.T) {
	rsa, ec := hostile.NewSigner(RS256, "r").JWK, hostile.NewSigner(ES256, "e").JWK
	good := hostile.JWKS(ec())
	for want, documents := range map[error][]string{
		errNotJSON: {
			"", "<html>", good[:100], good + "{}", `{"keys":[],"keys":[` + ec() + `]}`, `{"x":1,"\u0078":1,"keys":[` + ec() + `]}`,
			`{"x":null,"x":null,"keys":[` + ec() + `]}`,
			`{"keys":[` + ec() + `],"x":"` + "\xff" + `"}`, `[` + ec() + `]`, `null`, ec(), `{"Keys":[` + ec() + `]}`,
			`{"keys":` + ec() + `}`, `{"keys":null}`,
		},
		errNoneUsable: {hostile.JWKS()},
		errTooMany:    {hostile.JWKS(strings.Repeat(`{},`, maxKeys) + ec())},
		errTooLarge:   {strings.Repeat(" ", maxDocument) + good},
		errSymmetric: {
			hostile.JWKS(ec(), `{"kty":"oct","k":"c2VjcmV0"}`), hostile.JWKS(ec(`"k":"c2VjcmV0"`)),
			hostile.JWKS(ec(), `{"kty":"\u006fct","use":"enc","k":"c2VjcmV0"}`), hostile.JWKS(ec(), `{"kid":7,"k":"c2VjcmV0"}`),
		},
		errPrivate: {hostile.JWKS(ec(), rfcPrivate), hostile.JWKS(rsa(`"p":"AQAB"`))},
	} {
		for _, document := range documents {
			_, err := Parse([]byte(document))
			require.ErrorIs(t, err, want, "%.200s", document)
			assert.NotContains(t, err.Error(), "c2VjcmV0")
		}
	}
	_, err := Parse([]byte(hostile.JWKS(strings.Repeat(`{},`, maxKeys-1) + ec())))
	assert.NoError(t, err, "as many as may be")
}

// A key is found for its own algorithm and id only, and without an id only
// where there is no choice.
func TestFind(t *testing.T) {
	i := hostile.NewIssuer()
	second, nameless := hostile.NewSigner(ES256, "e2"), hostile.NewSigner(EdDSA, "")
	set := parsed(t, i.RSA.JWK(), i.EC.JWK(), second.JWK(), nameless.JWK())
	for _, tc := range []struct {
		algorithm, kid string
		want           *hostile.Signer
	}{
		{RS256, "r", i.RSA}, {RS256, "", i.RSA}, {RS256, "e", nil}, {RS256, "R", nil}, {RS256, "x", nil},
		{ES256, "e", i.EC}, {ES256, "e2", second}, {ES256, "", nil}, {ES256, "r", nil},
		{EdDSA, "", nameless}, {EdDSA, "d", nil}, {EdDSA, "r", nil},
		{"RS512", "r", nil}, {"PS256", "r", nil}, {"HS256", "r", nil}, {"HS256", "", nil}, {"none", "", nil}, {"", "", nil}, {"", "r", nil},
	} {
		var want crypto.PublicKey
		if tc.want != nil {
			want = tc.want.Public()
		}
		assert.Equal(t, want, set.Find(tc.algorithm, tc.kid), "%s %q", tc.algorithm, tc.kid)
	}
	assert.Nil(t, (&Set{}).Find(RS256, ""))
}

func TestEqualSets(t *testing.T) {
	i := hostile.NewIssuer()
	a, b := i.RSA.JWK(), i.EC.JWK()
	for name, tc := range map[string]struct {
		one, other *Set
		want       bool
	}{
		"the same":          {parsed(t, a, b), parsed(t, a, b), true},
		"another order":     {parsed(t, a, b), parsed(t, b, a), true},
		"another spelling":  {parsed(t, a, b), parsed(t, i.RSA.JWK(`"alg":"RS256"`), b, `{"kty":"new"}`), true},
		"one more":          {parsed(t, a), parsed(t, a, b), false},
		"one less":          {parsed(t, a, b), parsed(t, b), false},
		"another id":        {parsed(t, a), parsed(t, edit(a, "kid", `"s"`)), false},
		"another key":       {parsed(t, a), parsed(t, hostile.NewSigner(RS256, "r").JWK()), false},
		"another algorithm": {parsed(t, a), parsed(t, edit(b, "kid", `"r"`)), false},
	} {
		assert.Equal(t, tc.want, tc.one.Equal(tc.other), name)
		assert.Equal(t, tc.want, tc.other.Equal(tc.one), name)
	}
}

// A key whose members are repeated is left out, and no other is lost; unless it
// holds a secret.
func TestRepeatedMembers(t *testing.T) {
	i := hostile.NewIssuer()
	set := parsed(t, i.EC.JWK(`"kid":"e"`), edit(i.RSA.JWK(), "n", `"AQAB","n":"AQAB"`), i.Ed.JWK())
	assert.Equal(t, []string{"d (EdDSA)"}, set.IDs())
	assert.Equal(t, []Skipped{{"e", errMembers.Error()}, {"r", errMembers.Error()}}, set.Skipped)
	_, err := Parse([]byte(hostile.JWKS(i.Ed.JWK(), `{"kty":"oct","k":"YQ","k":"YQ"}`)))
	assert.ErrorIs(t, err, errSymmetric)
	_, err = Parse([]byte(hostile.JWKS(i.EC.JWK(`"kid":"e"`))))
	assert.ErrorIs(t, err, errNoneUsable)
}

// Of keys that a token names alike the first is used, and no other is lost.
func TestKeysOfOneID(t *testing.T) {
	i, second := hostile.NewIssuer(), hostile.NewSigner(ES256, "e")
	set := parsed(t, i.EC.JWK(), second.JWK(), edit(i.RSA.JWK(), "kid", `"e"`), i.Ed.JWK())
	assert.Equal(t, []string{"e (ES256)", "e (RS256)", "d (EdDSA)"}, set.IDs())
	assert.Equal(t, []Skipped{{"e", errSameID.Error()}}, set.Skipped)
	assert.Equal(t, i.EC.Public(), set.Find(ES256, "e"))
	assert.Equal(t, i.RSA.Public(), set.Find(RS256, "e"))
}

func TestReadFile(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	set, err := ReadFile(write("good", hostile.JWKS(rfcEd25519)))
	require.NoError(t, err)
	assert.Equal(t, 1, set.Len())
	for path, want := range map[string]error{
		filepath.Join(directory, "absent"):                   fs.ErrNotExist,
		write("empty", ""):                                   errNotJSON,
		write("large", strings.Repeat(" ", maxDocument<<1)):  errTooLarge,
		write("secret", `{"keys":[{"kty":"oct","k":"YQ"}]}`): errSymmetric,
	} {
		_, err := ReadFile(path)
		assert.ErrorIs(t, err, want, path)
		assert.NotContains(t, err.Error(), directory)
	}
	_, err = ReadFile(directory)
	assert.EqualError(t, err, "it is no regular file")
}

// Whatever arrives is parsed or refused, and what is parsed can be used.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{hostile.JWKS(rfcEC, rfcRSA, rfcEd25519), hostile.JWKS(rfcPrivate), `{"keys":[{}]}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		set, err := Parse(document)
		if err != nil {
			return
		}
		if set.Len() == 0 || set.Len()+len(set.Skipped) > maxKeys {
			t.Fatalf("%d keys and %d skipped", set.Len(), len(set.Skipped))
		}
		for _, k := range set.keys {
			if found := set.Find(k.algorithm, k.id); k.id != "" && !k.public.Equal(found) {
				t.Fatalf("%s is not found", fmt.Sprintf("%q", k.id))
			}
		}
	})
}
