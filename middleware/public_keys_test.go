package middleware

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// setOf is what a gateway makes of a JWKS with the keys of signers.
func setOf(t testing.TB, signers ...*hostile.Signer) *jwks.Set {
	t.Helper()
	var keys []string
	for _, s := range signers {
		keys = append(keys, s.JWK())
	}
	set, err := jwks.Parse([]byte(hostile.JWKS(keys...)))
	require.NoError(t, err)
	return set
}

// withKeys is a chain behind an Authenticator with keys and testSecret.
func withKeys(t testing.TB, keys PublicKeys) (*Authenticator, fasthttp.RequestHandler) {
	auth := newAuth(t, func(c *AuthConfig) { c.PublicKeys = keys })
	return auth, behind(auth)
}

func TestPublicKeysVerify(t *testing.T) {
	i := hostile.NewIssuer()
	nameless := hostile.NewSigner("EdDSA", "")
	for name, tc := range map[string]struct {
		keys  []*hostile.Signer
		token string
	}{
		"RS256":                {i.Signers(), i.RSA.Token(hostile.GoodClaims(epoch))},
		"ES256":                {i.Signers(), i.EC.Token(hostile.GoodClaims(epoch))},
		"EdDSA":                {i.Signers(), i.Ed.Token(hostile.GoodClaims(epoch))},
		"HS256 beside":         {i.Signers(), goodToken()},
		"HS256 with a kid":     {i.Signers(), hostile.Sign(testSecret, `{"alg":"HS256","kid":"r"}`, hostile.GoodClaims(epoch).String())},
		"no kid, no choice":    {i.Signers(), i.EC.Sign(`{"alg":"ES256"}`, hostile.GoodClaims(epoch).String())},
		"an empty kid":         {i.Signers(), i.EC.Sign(`{"alg":"ES256","kid":""}`, hostile.GoodClaims(epoch).String())},
		"a key without kid":    {[]*hostile.Signer{nameless, i.RSA}, nameless.Token(hostile.GoodClaims(epoch))},
		"escaped alg and kid":  {i.Signers(), i.Ed.Sign(`{"\u0061lg":"Ed\u0044SA","kid":"\u0064"}`, hostile.GoodClaims(epoch).String())},
		"other header members": {i.Signers(), i.RSA.Sign(`{"alg":"RS256","kid":"r","Kid":"x","typ":"at+jwt","jwk":{}}`, hostile.GoodClaims(epoch).String())},
	} {
		t.Run(name, func(t *testing.T) {
			_, handler := withKeys(t, setOf(t, tc.keys...))
			assert.Equal(t, passed, ask(t, handler, bearer(tc.token), ""))
			assert.Equal(t, passed, ask(t, handler, bearer(tc.token), ""), "remembered")
		})
	}
}

// A key verifies tokens of its own algorithm that name it, and no others.
func TestPublicKeysRefuse(t *testing.T) {
	i, other := hostile.NewIssuer(), hostile.NewIssuer()
	second := hostile.NewSigner("ES256", "e2")
	_, handler := withKeys(t, setOf(t, i.RSA, i.EC, i.Ed, second))
	claims := hostile.GoodClaims(epoch).String()
	tokens := map[string]string{
		"another kid":               i.RSA.Sign(`{"alg":"RS256","kid":"x"}`, claims),
		"a kid in other case":       i.RSA.Sign(`{"alg":"RS256","kid":"R"}`, claims),
		"the kid of another key":    i.EC.Sign(`{"alg":"ES256","kid":"e2"}`, claims),
		"no kid with a choice":      i.EC.Sign(`{"alg":"ES256"}`, claims),
		"a kid that is a number":    i.RSA.Sign(`{"alg":"RS256","kid":7}`, claims),
		"a kid that is null":        i.RSA.Sign(`{"alg":"RS256","kid":null}`, claims),
		"a kid in a list":           i.RSA.Sign(`{"alg":"RS256","kid":["r"]}`, claims),
		"two kids":                  i.RSA.Sign(`{"alg":"RS256","kid":"r","kid":"r"}`, claims),
		"RS256 for the EC key":      i.RSA.Sign(`{"alg":"RS256","kid":"e"}`, claims),
		"ES256 for the RSA key":     i.EC.Sign(`{"alg":"ES256","kid":"r"}`, claims),
		"EdDSA for the EC key":      i.Ed.Sign(`{"alg":"EdDSA","kid":"e"}`, claims),
		"signed with another alg":   i.RSA.Sign(`{"alg":"ES256","kid":"e"}`, claims),
		"alg in other case":         i.RSA.Sign(`{"alg":"rs256","kid":"r"}`, claims),
		"Ed25519 by its new name":   i.Ed.Sign(`{"alg":"Ed25519","kid":"d"}`, claims),
		"a critical extension":      i.RSA.Sign(`{"alg":"RS256","kid":"r","crit":["b64"],"b64":false}`, claims),
		"a wrong audience":          i.RSA.Token(hostile.GoodClaims(epoch).Set("aud", `"other"`)),
		"no expiry":                 i.RSA.Token(hostile.GoodClaims(epoch).Without("exp")),
		"a key in the header":       other.RSA.Sign(`{"alg":"RS256","kid":"r","jwk":`+other.RSA.JWK()+`}`, claims),
		"no signature":              cut(i.RSA.Token(hostile.GoodClaims(epoch))),
		"a zero signature of ES256": cut(i.EC.Token(hostile.GoodClaims(epoch))) + strings.Repeat("A", 86),
		"a zero signature of EdDSA": cut(i.Ed.Token(hostile.GoodClaims(epoch))) + strings.Repeat("A", 86),
		"a zero signature of RSA":   cut(i.RSA.Token(hostile.GoodClaims(epoch))) + strings.Repeat("A", 342),
	}
	for _, algorithm := range []string{"RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "none", "None", ""} {
		for _, kid := range []string{"r", "e", "d"} {
			tokens[algorithm+" for "+kid] = i.RSA.Sign(fmt.Sprintf(`{"alg":%q,"kid":%q}`, algorithm, kid), claims)
			tokens["unsigned "+algorithm+" for "+kid] = cut(tokens[algorithm+" for "+kid])
		}
	}
	for _, s := range other.Signers() {
		tokens["another issuer's "+s.Algorithm] = s.Token(hostile.GoodClaims(epoch))
	}
	for _, bad := range hostile.BadTokens(testSecret, epoch) {
		if !bad.Expired {
			tokens["HS256: "+bad.Name] = bad.Text
		}
	}
	for name, token := range tokens {
		assert.Equal(t, invalid, ask(t, handler, bearer(token), ""), name)
	}
	old := hostile.GoodClaims(epoch.Add(-2 * time.Hour))
	assert.Equal(t, expired, ask(t, handler, bearer(i.Ed.Token(old)), ""))
	assert.Equal(t, passed, ask(t, handler, bearer(i.Ed.Token(hostile.GoodClaims(epoch))), ""), "and a good one")
}

// cut takes the signature off a token.
func cut(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

// A public key is public: every spelling of it is tried as an HS256 secret,
// with and without secrets of our own.
func TestPublicKeysAreNoSecrets(t *testing.T) {
	i := hostile.NewIssuer()
	keys := setOf(t, i.Signers()...)
	claims := hostile.GoodClaims(epoch).String()
	beside := newAuth(t, func(c *AuthConfig) { c.PublicKeys = keys })
	alone := newAuth(t, func(c *AuthConfig) { c.PublicKeys, c.Secrets = keys, nil })
	for _, signer := range i.Signers() {
		for name, secret := range spellings(t, signer) {
			for _, header := range []string{
				`{"alg":"HS256"}`, fmt.Sprintf(`{"alg":"HS256","kid":%q}`, signer.ID),
				fmt.Sprintf(`{"alg":%q,"kid":%q}`, signer.Algorithm, signer.ID),
			} {
				token := hostile.Sign(secret, header, claims)
				for _, auth := range []*Authenticator{beside, alone} {
					handler := behind(auth)
					assert.Equal(t, invalid, ask(t, handler, bearer(token), ""), "%s of %s with %s", name, signer.Algorithm, header)
				}
			}
		}
	}
}

// spellings are the texts and bytes that people take a public key for.
func spellings(t *testing.T, signer *hostile.Signer) map[string]string {
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	spelled := map[string]string{
		"PEM": text, "PEM without its last line break": strings.TrimSpace(text), "PEM with CRLF": strings.ReplaceAll(text, "\n", "\r\n"),
		"DER": string(der), "JWK": signer.JWK(), "JWKS": hostile.JWKS(signer.JWK()), "kid": signer.ID, "nothing": "", "nil": "<nil>",
		"Go": fmt.Sprint(signer.Public()),
	}
	var compact bytes.Buffer
	require.NoError(t, json.Indent(&compact, []byte(signer.JWK()), "", "  "))
	spelled["JWK in lines"] = compact.String()
	var members map[string]string
	require.NoError(t, json.Unmarshal([]byte(signer.JWK()), &members))
	for name, value := range members {
		spelled["member "+name] = value
		raw, _ := base64.RawURLEncoding.DecodeString(value)
		spelled["bytes of "+name] = string(raw)
	}
	return spelled
}
