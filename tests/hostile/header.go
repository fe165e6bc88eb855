package hostile

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// badHeaders are JOSE headers that demand, repeat or point at something.
func badHeaders(secret string, now time.Time) []Token {
	claims := GoodClaims(now).String()
	const alg = `"alg":"HS256"`
	var tokens []Token
	for _, c := range []rawCase{
		{"nothing", ""},
		{"null", "null"},
		{"list", `[{"alg":"HS256"}]`},
		{"string", `"HS256"`},
		{"empty object", "{}"},
		{"two objects", `{"alg":"HS256"}{}`},
		{"trailing garbage", `{"alg":"HS256"}x`},
		{"byte order mark", "\ufeff" + DefaultHeader},
		{"invalid UTF-8", "{" + alg + ",\"kid\":\"\xff\"}"},
		{"unterminated", `{"alg":"HS256"`},
		{"not JSON", "HS256"},
		{"a name twice", "{" + alg + `,"typ":"JWT","typ":"JWT"}`},
		{"a nested name twice", "{" + alg + `,"x":{"y":1,"y":2}}`},
		{"alg twice, none first", `{"alg":"none",` + alg + "}"},
		{"alg twice, none last", "{" + alg + `,"alg":"none"}`},
		{"alg twice, once escaped", "{" + alg + `,"\u0061lg":"HS256"}`},
		{"crit unknown", "{" + alg + `,"crit":["x"],"x":1}`},
		{"crit known by name", "{" + alg + `,"crit":["exp"],"exp":1}`},
		{"crit b64", "{" + alg + `,"crit":["b64"],"b64":false}`},
		{"crit empty", "{" + alg + `,"crit":[]}`},
		{"crit null", "{" + alg + `,"crit":null}`},
		{"crit string", "{" + alg + `,"crit":"x"}`},
		{"crit boolean", "{" + alg + `,"crit":false}`},
		{"crit twice", "{" + alg + `,"crit":[],"crit":[]}`},
	} {
		tokens = append(tokens, Token{Name: "header: " + c.name, Text: Sign(secret, c.raw, claims)})
	}

	// Keys that the token brings along, or points at, are nobody's keys.
	const own = "the attacker's own key, 32 bytes+"
	jwk := `{"kty":"oct","alg":"HS256","k":"` + encode(own) + `"}`
	for _, c := range []rawCase{
		{"own key in jwk", `"jwk":` + jwk},
		{"own key at jku", `"jku":"http://127.0.0.1:9/jwks.json","kid":"1"`},
		{"own key at x5u", `"x5u":"http://127.0.0.1:9/cert.pem"`},
		{"own key as x5c", `"x5c":["` + base64.StdEncoding.EncodeToString([]byte(own)) + `"]`},
		{"own key named by kid", `"kid":"` + own + `"`},
	} {
		tokens = append(tokens, Token{Name: "header: " + c.name, Text: Sign(own, "{"+alg+","+c.raw+"}", claims)})
	}
	for _, kid := range []string{"/dev/null", "../../../../dev/null", "x' UNION SELECT ''--", ""} {
		tokens = append(tokens, Token{
			Name: "header: empty key by kid " + kid,
			Text: Sign("", "{"+alg+`,"kid":"`+kid+`"}`, claims),
		})
	}
	return tokens
}

// badAlgorithms are signed in every way but HS256, each correctly.
func badAlgorithms(secret string, now time.Time) []Token {
	claims := GoodClaims(now).String()
	var tokens []Token
	add := func(name, text string) { tokens = append(tokens, Token{Name: "alg " + name, Text: text}) }

	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		unsigned := encode(`{"alg":"`+none+`"}`) + "." + encode(claims) + "."
		add(none+" without a signature", unsigned)
		add(none+" with a signature", Sign(secret, `{"alg":"`+none+`"}`, claims))
		add(none+" with any signature", unsigned+"AA")
	}
	for _, c := range []rawCase{
		{"missing", `"typ":"JWT"`},
		{"null", `"alg":null`},
		{"number", `"alg":256`},
		{"list", `"alg":["HS256"]`},
		{"object", `"alg":{"HS256":true}`},
		{"lower case", `"alg":"hs256"`},
		{"space behind", `"alg":"HS256 "`},
		{"NUL behind", `"alg":"HS256\u0000"`},
		{"only Alg", `"Alg":"HS256"`},
		{"only ALG", `"ALG":"HS256"`},
		{"unknown", `"alg":"XS256"`},
		{"RS256 over an HMAC", `"alg":"RS256"`},
		{"ES256 over an HMAC", `"alg":"ES256"`},
		{"PS256 over an HMAC", `"alg":"PS256"`},
		{"EdDSA over an HMAC", `"alg":"EdDSA"`},
		{"HS384 over HS256", `"alg":"HS384"`},
		{"dir", `"alg":"dir","enc":"A256GCM"`},
	} {
		add(c.name, Sign(secret, "{"+c.raw+"}", claims))
	}
	add("HS384", SignSegments(sha512.New384, secret, encode(`{"alg":"HS384"}`), encode(claims)))
	add("HS512", SignSegments(sha512.New, secret, encode(`{"alg":"HS512"}`), encode(claims)))
	add("HS512 called HS256", SignSegments(sha512.New, secret, encode(DefaultHeader), encode(claims)))
	add("HS224 called HS256", SignSegments(sha256.New224, secret, encode(DefaultHeader), encode(claims)))
	return append(tokens, rsaTokens(claims)...)
}

// rsaTokens are a true RS256 token of another issuer, and the confusion of a
// public key with an HMAC secret.
func rsaTokens(claims string) []Token {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // the system has no randomness
	}
	signed := encode(`{"alg":"RS256"}`) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // only a key too small for the digest gets here
	}
	public := pem.EncodeToMemory(&pem.Block{
		Type:  "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey),
	})
	n := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
	e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	embedded := `{"alg":"RS256","jwk":{"kty":"RSA","n":"` + n + `","e":"` + e + `"}}`
	return []Token{
		{Name: "alg RS256 of another issuer", Text: signed + "." + encode(string(signature))},
		{Name: "alg HS256 over a public key", Text: Sign(string(public), DefaultHeader, claims)},
		{Name: "alg HS256 over a trimmed public key", Text: Sign(strings.TrimSpace(string(public)), DefaultHeader, claims)},
		{Name: "alg RS256 with its key in the header", Text: Sign("x", embedded, claims)},
	}
}
