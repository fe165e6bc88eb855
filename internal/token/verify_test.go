package token

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// testSecret signs what the tests of this package call a good token.
const testSecret = "a secret of the token tests, of 40 bytes"

// epoch is the moment at which most tests verify.
var epoch = time.Unix(1_800_000_000, 0)

// newVerifier is a Verifier with testSecret, changed by edit.
func newVerifier(t testing.TB, edit func(*Config)) *Verifier {
	t.Helper()
	config := Config{Secrets: [][]byte{[]byte(testSecret)}}
	if edit != nil {
		edit(&config)
	}
	v, err := NewVerifier(config)
	require.NoError(t, err)
	return v
}

func verify(v *Verifier, token string) (*Identity, error) { return verifyAt(v, token, epoch) }

// verifyAt does what contrib/jwt does with a token.
func verifyAt(v *Verifier, token string, now time.Time) (*Identity, error) {
	token, err := v.Check(token)
	if err != nil {
		return nil, err
	}
	parsed, err := jwt.ParseWithClaims(token, &RawClaims{}, v.Key)
	if err != nil {
		return nil, err
	}
	return v.Accept(parsed, now)
}

func signed(claims hostile.Claims) string {
	return hostile.Sign(testSecret, hostile.DefaultHeader, claims.String())
}

// Check says why it refuses a token, of which nothing but the header was read.
func TestCheck(t *testing.T) {
	ec, other := hostile.NewSigner("ES256", "e"), hostile.NewSigner("ES256", "s")
	set, err := jwks.Parse([]byte(hostile.JWKS(ec.JWK())))
	require.NoError(t, err)
	asked := 0
	both := newVerifier(t, func(c *Config) { c.PublicKeys, c.UnknownKey = set, func() { asked++ } })
	secrets := newVerifier(t, nil)
	public := newVerifier(t, func(c *Config) { c.PublicKeys, c.Secrets = set, nil })
	waiting := newVerifier(t, func(c *Config) { c.PublicKeys, c.UnknownKey = &jwks.Set{}, func() { asked++ } })
	const notClaims = `["no claims at all"]`
	hs256 := func(header string) string { return hostile.Sign(testSecret, header, notClaims) }
	long := fmt.Sprintf(`{"alg":"HS256","x":"%01500d"}`, 0)
	for _, c := range []struct {
		name     string
		verifier *Verifier
		token    string
		want     error
	}{
		{"HS256", secrets, hs256(`{"alg":"HS256"}`), nil},
		{"ES256", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, notClaims), nil},
		{"ES256, another's signature", both, other.Sign(`{"alg":"ES256","kid":"e"}`, notClaims), nil},
		{"an empty header", secrets, ".e30.AAAA", errHeader},
		{"a header in standard base64", secrets, "e+/0.e30.AAAA", errBase64},
		{"a header of 2 KiB", secrets, hs256(long), nil},
		{"a header of more", secrets, hs256(long + "                "), errHeaderSize},
		{"a header of 32 values", secrets, hs256(`{"alg":"HS256","x":` + list(30) + `}`), nil},
		{"a header of more values", secrets, hs256(`{"alg":"HS256","x":` + list(31) + `}`), errHeaderSize},
		{"a header of other case", secrets, hs256(`{"ALG":"HS256"}`), ErrAlgorithm},
		{"kid of another type", secrets, hs256(`{"alg":"HS256","kid":1}`), errHeader},
		{"kid null", secrets, hs256(`{"alg":"HS256","kid":null}`), errHeader},
		{"ES256 without public keys", secrets, ec.Sign(`{"alg":"ES256","kid":"e"}`, notClaims), ErrAlgorithm},
		{"HS256 without a secret", public, hs256(`{"alg":"HS256"}`), ErrAlgorithm},
		{"an unknown key", both, ec.Sign(`{"alg":"ES256","kid":"x"}`, notClaims), ErrUnknownKey},
		{"the key of another algorithm", both, ec.Sign(`{"alg":"EdDSA","kid":"e"}`, notClaims), ErrUnknownKey},
		{"a line break", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, notClaims) + "\n", errBase64},
		{"a line break in the header", both, "eyJh\nbGciOiJFUzI1NiJ9.e30.AAAA", errBase64},
		{"a line break in the claims", both, "eyJhbGciOiJFUzI1NiJ9.e3\r0.AAAA", errBase64},
		{"public keys that are not there yet", waiting, ec.Sign(`{"alg":"ES256","kid":"e"}`, notClaims), ErrNoKeysYet},
		{"HS256 meanwhile", waiting, hs256(`{"alg":"HS256"}`), nil},
		{"HS512 meanwhile", waiting, hs256(`{"alg":"HS512"}`), ErrAlgorithm},
		{"half of the claims", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, `{"x":`), errNotJSON},
		{"claims of 32 levels", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, nest(32)+nest(32)), nil},
		{"claims of more levels", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, nest(33)), errClaimsDepth},
		{"more levels after a kilobyte", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, strings.Repeat(" ", 1000)+nest(33)), errClaimsDepth},
		{"more levels of a secret's", both, hostile.Sign(testSecret, `{"alg":"HS256"}`, nest(33)), nil},
		{"brackets in a string", both, ec.Sign(`{"alg":"ES256","kid":"e"}`, `["\"`+nest(99)+`"]`), nil},
	} {
		token, err := c.verifier.Check(c.token)
		assert.Equal(t, c.want, err, c.name)
		if err == nil {
			assert.Equal(t, c.token, token, c.name)
		}
	}
	assert.Equal(t, 3, asked, "for two other keys and for the first ones")
}

// list is a JSON list of n items.
func list(n int) string {
	text := []byte("[1")
	for range n - 1 {
		text = append(text, ",1"...)
	}
	return string(append(text, ']'))
}

// nest is a list in a list, depth levels.
func nest(depth int) (text string) {
	for range depth {
		text = "[" + text + "]"
	}
	return text
}

// Check refuses nothing that golang-jwt, Key and RawClaims would accept, but
// for its own limits: it only refuses earlier.
func TestCheckChangesNoAnswer(t *testing.T) {
	secrets := []string{"the first secret of thirty-two bytes", testSecret, "the third secret of thirty-two bytes"}
	v := newVerifier(t, func(c *Config) {
		c.Secrets = nil
		for _, s := range secrets {
			c.Secrets = append(c.Secrets, []byte(s))
		}
	})
	headers := []string{hostile.DefaultHeader, `{"alg":"HS256"}`, `{"alg":"HS256","kid":"7"}`}
	chance := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for i := range 3000 {
		claims := hostile.GoodClaims(epoch).Add(fmt.Sprintf(`"jti":"%d"`, i))
		token := hostile.Sign(secrets[chance.IntN(len(secrets))], headers[chance.IntN(len(headers))], claims.String())
		switch at := chance.IntN(len(token)); chance.IntN(4) {
		case 0:
			token = token[:at] + string(`.A-_=+/z`[chance.IntN(8)]) + token[at+1:]
		case 1:
			token = token[:at+1]
		}
		_, want := jwt.NewParser(jwt.WithStrictDecoding()).ParseWithClaims(token, &RawClaims{}, v.Key)
		_, err := verify(v, token)
		require.Equal(t, want == nil, err == nil, "%s: %v, %v", token, want, err)
		if err == nil {
			accepted++
		}
	}
	assert.Greater(t, accepted, 1000)
}

// The errors of golang-jwt keep the reason, which the middleware looks for.
func TestReasons(t *testing.T) {
	v, good := newVerifier(t, nil), hostile.GoodClaims(epoch)
	for _, c := range []struct {
		claims hostile.Claims
		want   error
	}{
		{good, nil},
		{good.Without("sub"), ErrSubject},
		{good.Set("sub", `" "`), ErrSubject},
		{good.Set("sub", `"a\u0000b"`), ErrSubject},
		{good.Set("sub", `"`+strings.Repeat("a", maxSubject+1)+`"`), ErrSubject},
		{good.Set("sub", `"`+strings.Repeat("a", maxSubject)+`"`), nil},
		{good.Set("sub", "1"), ErrClaimType},
		{good.Without("exp"), ErrExpiry},
		{good.Set("exp", "null"), ErrClaimType},
		{good.Set("exp", "0"), ErrExpiry},
		{good.Set("exp", "-0"), ErrExpiry},
		{good.Set("exp", "1e300"), ErrExpiry},
		{good.Set("exp", "1e400"), ErrClaimType},
		{good.Set("exp", "1"), ErrExpired},
		{good.Add(`"nbf":null`), ErrClaimType},
		{good.Add(`"nbf":1900000000`), ErrNotYetValid},
		{good.Add(`"nbf":-1e300`), ErrExpiry},
		{good.Without("aud"), ErrWrongAudience},
		{good.Set("aud", `[1]`), ErrClaimType},
		{good.Set("aud", `[]`), ErrWrongAudience},
		{good.Set("scope", `[]`), ErrClaimType},
		{good.Add(`"x":1`, `"x":2`), errNotJSON},
	} {
		id, err := verify(v, signed(c.claims))
		if assert.ErrorIs(t, err, c.want, "%s", c.claims) && err == nil {
			assert.Equal(t, []string{"vm:read", "vm:write"}, id.Scopes)
		}
	}
}

func TestNoKeys(t *testing.T) {
	for _, secrets := range [][][]byte{nil, {}, {nil}, {[]byte("good"), {}}} {
		v, err := NewVerifier(Config{Secrets: secrets})
		assert.ErrorIs(t, err, ErrNoKeys)
		assert.Nil(t, v)
		v = newVerifier(t, nil)
		assert.ErrorIs(t, v.SetSecrets(secrets), ErrNoKeys)
		assert.ErrorIs(t, v.SetPublicKeys(nil), nil)
		_, err = verify(v, signed(hostile.GoodClaims(epoch)))
		assert.NoError(t, err, "the old secrets stay")
	}
}
