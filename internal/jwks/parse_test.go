package jwks

import (
	"crypto"
	"fmt"
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

// issuer has a key of each kind.
type issuer struct{ rsa, ec, ed *hostile.Signer }

func newIssuer() issuer {
	return issuer{hostile.NewSigner(RS256, "r"), hostile.NewSigner(ES256, "e"), hostile.NewSigner(EdDSA, "d")}
}

func parsed(t testing.TB, keys ...string) *Set {
	t.Helper()
	set, err := Parse([]byte(hostile.JWKS(keys...)))
	require.NoError(t, err)
	return set
}

func TestKeysOfTheStandards(t *testing.T) {
	set := parsed(t, rfcEC, rfcRSA, rfcEd25519)
	assert.Equal(t, []string{"2011-04-29 (RS256)", " (EdDSA)"}, set.IDs())
	assert.Equal(t, []Skipped{{"1", "it is not for signatures"}}, set.Skipped())
}

// What a document says around its keys changes nothing.
func TestUsableKeys(t *testing.T) {
	i := newIssuer()
	for name, tc := range map[string]struct {
		key, want string
		public    crypto.PublicKey
	}{
		"RSA":                     {i.rsa.JWK(), "r (RS256)", i.rsa.Public()},
		"RSA with its algorithm":  {i.rsa.JWK(`"alg":"RS256"`), "r (RS256)", i.rsa.Public()},
		"RSA with a leading zero": {strings.Replace(i.rsa.JWK(), `"e":"AQAB"`, `"e":"AAEAAQ"`, 1), "r (RS256)", i.rsa.Public()},
		"EC":                      {i.ec.JWK(), "e (ES256)", i.ec.Public()},
		"EC with its algorithm":   {i.ec.JWK(`"alg":"ES256"`), "e (ES256)", i.ec.Public()},
		"Ed25519":                 {i.ed.JWK(), "d (EdDSA)", i.ed.Public()},
		"Ed25519 with its name":   {i.ed.JWK(`"alg":"EdDSA"`), "d (EdDSA)", i.ed.Public()},
		"for signatures":          {i.ec.JWK(`"use":"sig"`), "e (ES256)", i.ec.Public()},
		"for verification":        {i.ec.JWK(`"key_ops":["sign","verify"]`), "e (ES256)", i.ec.Public()},
		"for both, both ways":     {i.ec.JWK(`"use":"sig","key_ops":["verify"]`), "e (ES256)", i.ec.Public()},
		"unknown members":         {i.ec.JWK(`"x5c":["MII"],"x5t":"a","exp":1,"KID":"other","K":"c2VjcmV0"`), "e (ES256)", i.ec.Public()},
		"an escaped name":         {strings.Replace(i.ec.JWK(), `"kty"`, `"\u006bty"`, 1), "e (ES256)", i.ec.Public()},
	} {
		t.Run(name, func(t *testing.T) {
			set := parsed(t, tc.key)
			assert.Equal(t, []string{tc.want}, set.IDs())
			assert.Empty(t, set.Skipped())
			found := set.Find(set.keys[0].algorithm, set.keys[0].id)
			assert.Equal(t, tc.public, found)
		})
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
	i := newIssuer()
	zeros := strings.Repeat("A", 42)
	even := edit(i.rsa.JWK(), "n", `"`+"_"+strings.Repeat("A", 341)+`"`)
	for name, tc := range map[string]struct {
		key  string
		want error
	}{
		"an unknown type":                 {`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`, errType},
		"no type":                         {`{"kid":"x"}`, errType},
		"a type in other case":            {strings.Replace(i.ec.JWK(), `"EC"`, `"ec"`, 1), errType},
		"a type that is no string":        {edit(i.ec.JWK(), "kty", `1`), errMembers},
		"a kid that is no string":         {edit(i.ec.JWK(), "kid", `7`), errMembers},
		"no object":                       {`"key"`, errMembers},
		"another use":                     {i.ec.JWK(`"use":"enc"`), errUse},
		"a use in other case":             {i.ec.JWK(`"use":"SIG"`), errUse},
		"other operations":                {i.ec.JWK(`"key_ops":["sign"]`), errUse},
		"no operations":                   {i.ec.JWK(`"key_ops":[]`), errUse},
		"operations that differ from use": {i.ec.JWK(`"use":"sig","key_ops":["encrypt"]`), errUse},
		"operations that are no list":     {i.ec.JWK(`"key_ops":"verify"`), errMembers},
		"RSA for RS512":                   {i.rsa.JWK(`"alg":"RS512"`), errAlgorithm},
		"RSA for PS256":                   {i.rsa.JWK(`"alg":"PS256"`), errAlgorithm},
		"RSA for encryption":              {i.rsa.JWK(`"alg":"RSA-OAEP"`), errAlgorithm},
		"RSA for HS256":                   {i.rsa.JWK(`"alg":"HS256"`), errAlgorithm},
		"RSA for ES256":                   {i.rsa.JWK(`"alg":"ES256"`), errAlgorithm},
		"RSA for none":                    {i.rsa.JWK(`"alg":"none"`), errAlgorithm},
		"EC for RS256":                    {i.ec.JWK(`"alg":"RS256"`), errAlgorithm},
		"EC for ES384":                    {i.ec.JWK(`"alg":"ES384"`), errAlgorithm},
		"EC for EdDSA":                    {i.ec.JWK(`"alg":"EdDSA"`), errAlgorithm},
		"Ed25519 for ES256":               {i.ed.JWK(`"alg":"ES256"`), errAlgorithm},
		"P-384":                           {edit(i.ec.JWK(), "crv", `"P-384"`), errType},
		"secp256k1":                       {edit(i.ec.JWK(), "crv", `"secp256k1"`), errType},
		"EC on Ed25519":                   {edit(i.ec.JWK(), "crv", `"Ed25519"`), errType},
		"X25519":                          {edit(i.ed.JWK(), "crv", `"X25519"`), errType},
		"OKP on P-256":                    {edit(i.ed.JWK(), "crv", `"P-256"`), errType},
		"RSA of 2040 bits":                {edit(i.rsa.JWK(), "n", `"`+strings.Repeat("_", 340)+`"`), errModulus},
		"RSA of 2047 bits":                {edit(i.rsa.JWK(), "n", `"f`+strings.Repeat("_", 340)+`w"`), errModulus},
		"RSA of 8200 bits":                {edit(i.rsa.JWK(), "n", `"`+strings.Repeat("_", 1366)+`w"`), errModulus},
		"RSA with an even modulus":        {even, errModulus},
		"RSA without modulus":             {edit(i.rsa.JWK(), "n", `""`), errModulus},
		"RSA without exponent":            {strings.Replace(i.rsa.JWK(), `"e"`, `"E"`, 1), errExponent},
		"RSA with exponent 1":             {edit(i.rsa.JWK(), "e", `"AQ"`), errExponent},
		"RSA with exponent 2":             {edit(i.rsa.JWK(), "e", `"Ag"`), errExponent},
		"RSA with an even exponent":       {edit(i.rsa.JWK(), "e", `"AQAA"`), errExponent},
		"RSA with exponent 2^31+1":        {edit(i.rsa.JWK(), "e", `"gAAAAQ"`), errExponent},
		"RSA with exponent 2^64+65537":    {edit(i.rsa.JWK(), "e", `"AQAAAAAAAQAB"`), errExponent},
		"padded base64":                   {edit(i.rsa.JWK(), "e", `"AQAB="`), errExponent},
		"standard base64":                 {edit(i.ed.JWK(), "x", `"+`+zeros+`"`), errPoint},
		"base64 with unused bits":         {edit(i.rsa.JWK(), "e", `"AR"`), errExponent},
		"a coordinate too short":          {edit(i.ec.JWK(), "x", `"AQAB"`), errPoint},
		"a coordinate too long":           {edit(i.ec.JWK(), "y", `"AA`+zeros+`"`), errPoint},
		"a point off the curve":           {edit(i.ec.JWK(), "y", `"`+zeros+`E"`), errPoint},
		"a point beyond the field":        {edit(i.ec.JWK(), "x", `"`+strings.Repeat("_", 42)+`8"`), errPoint},
		"the point at infinity":           {edit(edit(i.ec.JWK(), "x", `"`+zeros+`A"`), "y", `"`+zeros+`A"`), errPoint},
		"EC without y":                    {strings.Replace(i.ec.JWK(), `"y"`, `"Y"`, 1), errPoint},
		"Ed25519 of 31 bytes":             {edit(i.ed.JWK(), "x", `"`+strings.Repeat("A", 42)+`"`), errPoint},
		"Ed25519 of 33 bytes":             {edit(i.ed.JWK(), "x", `"`+strings.Repeat("A", 44)+`"`), errPoint},
	} {
		t.Run(name, func(t *testing.T) {
			const beside = `{"kty":"OKP","crv":"Ed25519","kid":"good","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
			document := hostile.JWKS(tc.key, beside)
			set, err := Parse([]byte(document))
			require.NoError(t, err)
			assert.Equal(t, []string{"good (EdDSA)"}, set.IDs())
			require.Len(t, set.Skipped(), 1)
			assert.Equal(t, tc.want.Error(), set.Skipped()[0].Reason)
			_, err = Parse([]byte(hostile.JWKS(tc.key)))
			assert.ErrorIs(t, err, errNoneUsable, "alone")
		})
	}
}

func TestRefusedDocuments(t *testing.T) {
	i := newIssuer()
	many := strings.Repeat(`{},`, maxKeys) + i.ec.JWK()
	for name, tc := range map[string]struct {
		document string
		want     error
	}{
		"nothing":                  {"", errNotJSON},
		"a page":                   {"<html>", errNotJSON},
		"half of it":               {hostile.JWKS(i.ec.JWK())[:100], errNotJSON},
		"more behind it":           {hostile.JWKS(i.ec.JWK()) + "{}", errNotJSON},
		"a repeated member":        {hostile.JWKS(i.ec.JWK(`"kid":"e"`)), errNotJSON},
		"two lists":                {`{"keys":[],"keys":[` + i.ec.JWK() + `]}`, errNotJSON},
		"invalid UTF-8":            {`{"keys":[` + i.ec.JWK() + `],"x":"` + "\xff" + `"}`, errNotJSON},
		"a list":                   {`[` + i.ec.JWK() + `]`, errNotJSON},
		"null":                     {`null`, errNotJSON},
		"one key alone":            {i.ec.JWK(), errNotJSON},
		"keys in other case":       {`{"Keys":[` + i.ec.JWK() + `]}`, errNotJSON},
		"keys that are no list":    {`{"keys":` + i.ec.JWK() + `}`, errNotJSON},
		"no list but null":         {`{"keys":null}`, errNotJSON},
		"an empty list":            {hostile.JWKS(), errNoneUsable},
		"too many keys":            {hostile.JWKS(many), errTooMany},
		"too large":                {strings.Repeat(" ", maxDocument) + hostile.JWKS(i.ec.JWK()), errTooLarge},
		"a secret":                 {hostile.JWKS(i.ec.JWK(), `{"kty":"oct","k":"c2VjcmV0"}`), errSymmetric},
		"a secret of an odd type":  {hostile.JWKS(i.ec.JWK(), `{"kty":"\u006fct","use":"enc","k":"c2VjcmV0"}`), errSymmetric},
		"a secret beside a key":    {hostile.JWKS(i.ec.JWK(`"k":"c2VjcmV0"`)), errSymmetric},
		"a private key":            {hostile.JWKS(i.ec.JWK(), rfcPrivate), errPrivate},
		"a prime of a private key": {hostile.JWKS(i.rsa.JWK(`"p":"AQAB"`)), errPrivate},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.document))
			require.ErrorIs(t, err, tc.want)
			assert.NotContains(t, err.Error(), "c2VjcmV0")
		})
	}
	_, err := Parse([]byte(hostile.JWKS(strings.Repeat(`{},`, maxKeys-1) + i.ec.JWK())))
	assert.NoError(t, err, "as many as may be")
}

// A key is found for its own algorithm and id only, and without an id only
// where there is no choice.
func TestFind(t *testing.T) {
	i := newIssuer()
	second, nameless := hostile.NewSigner(ES256, "e2"), hostile.NewSigner(EdDSA, "")
	set := parsed(t, i.rsa.JWK(), i.ec.JWK(), second.JWK(), nameless.JWK())
	for _, tc := range []struct {
		algorithm, kid string
		want           *hostile.Signer
	}{
		{RS256, "r", i.rsa}, {RS256, "", i.rsa}, {RS256, "e", nil}, {RS256, "R", nil}, {RS256, "x", nil},
		{ES256, "e", i.ec}, {ES256, "e2", second}, {ES256, "", nil}, {ES256, "r", nil},
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
	i := newIssuer()
	a, b := i.rsa.JWK(), i.ec.JWK()
	for name, tc := range map[string]struct {
		one, other *Set
		want       bool
	}{
		"the same":          {parsed(t, a, b), parsed(t, a, b), true},
		"another order":     {parsed(t, a, b), parsed(t, b, a), true},
		"another spelling":  {parsed(t, a, b), parsed(t, i.rsa.JWK(`"alg":"RS256"`), b, `{"kty":"new"}`), true},
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

// Of keys that a token names alike the first is used, and no other is lost.
func TestKeysOfOneID(t *testing.T) {
	i, second := newIssuer(), hostile.NewSigner(ES256, "e")
	set := parsed(t, i.ec.JWK(), second.JWK(), edit(i.rsa.JWK(), "kid", `"e"`), i.ed.JWK())
	assert.Equal(t, []string{"e (ES256)", "e (RS256)", "d (EdDSA)"}, set.IDs())
	assert.Equal(t, []Skipped{{"e", errSameID.Error()}}, set.Skipped())
	assert.Equal(t, i.ec.Public(), set.Find(ES256, "e"))
	assert.Equal(t, i.rsa.Public(), set.Find(RS256, "e"))
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
		if set.Len() == 0 || set.Len()+len(set.skipped) > maxKeys {
			t.Fatalf("%d keys and %d skipped", set.Len(), len(set.skipped))
		}
		for _, k := range set.keys {
			if found := set.Find(k.algorithm, k.id); k.id != "" && !k.public.Equal(found) {
				t.Fatalf("%s is not found", fmt.Sprintf("%q", k.id))
			}
		}
	})
}
