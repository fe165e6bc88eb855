package hostile

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"time"
)

// badHeaders are JOSE headers that demand, repeat or point at something.
func badHeaders(secret string, now time.Time) (tokens []Token) {
	claims := GoodClaims(now).String()
	const alg = `"alg":"HS256"`
	for _, header := range []string{
		"", "null", `[{"alg":"HS256"}]`, `"HS256"`, "{}", `{"alg":"HS256"}{}`, `{"alg":"HS256"}x`, `{"alg":"HS256"`, "HS256",
		"\ufeff" + DefaultHeader, "{" + alg + ",\"kid\":\"\xff\"}",
		"{" + alg + `,"typ":"JWT","typ":"JWT"}`, "{" + alg + `,"x":{"y":1,"y":2}}`,
		`{"alg":"none",` + alg + "}", "{" + alg + `,"alg":"none"}`, "{" + alg + `,"\u0061lg":"HS256"}`,
		"{" + alg + `,"crit":["x"],"x":1}`, "{" + alg + `,"crit":["exp"],"exp":1}`, "{" + alg + `,"crit":["b64"],"b64":false}`,
		"{" + alg + `,"crit":[]}`, "{" + alg + `,"crit":null}`, "{" + alg + `,"crit":"x"}`, "{" + alg + `,"crit":false}`,
		"{" + alg + `,"crit":[],"crit":[]}`,
	} {
		tokens = append(tokens, Token{Name: "header " + header, Text: Sign(secret, header, claims)})
	}

	// Keys that the token brings along, or points at, are not trusted.
	const own = "the attacker's own key, 32 bytes+"
	for _, member := range []string{
		`"jwk":{"kty":"oct","alg":"HS256","k":"` + encode(own) + `"}`,
		`"jku":"http://127.0.0.1:9/jwks.json","kid":"1"`,
		`"x5u":"http://127.0.0.1:9/cert.pem"`,
		`"x5c":["` + base64.StdEncoding.EncodeToString([]byte(own)) + `"]`,
		`"kid":"` + own + `"`,
	} {
		tokens = append(tokens, Token{Name: "own key by " + member, Text: Sign(own, "{"+alg+","+member+"}", claims)})
	}
	for _, kid := range []string{"/dev/null", "../../../../dev/null", "x' UNION SELECT ''--", ""} {
		tokens = append(tokens, Token{Name: "empty key by kid " + kid, Text: Sign("", "{"+alg+`,"kid":"`+kid+`"}`, claims)})
	}
	return tokens
}

// badAlgorithms are signed in every way but HS256, each correctly.
func badAlgorithms(secret string, now time.Time) (tokens []Token) {
	claims := GoodClaims(now).String()
	add := func(name, text string) { tokens = append(tokens, Token{Name: "alg " + name, Text: text}) }

	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		unsigned := encode(`{"alg":"`+none+`"}`) + "." + encode(claims) + "."
		add(none+" without a signature", unsigned)
		add(none+" with a signature", Sign(secret, `{"alg":"`+none+`"}`, claims))
		add(none+" with any signature", unsigned+"AA")
	}
	for _, member := range []string{
		`"typ":"JWT"`, `"alg":null`, `"alg":256`, `"alg":["HS256"]`, `"alg":{"HS256":true}`,
		`"alg":"hs256"`, `"alg":"HS256 "`, `"alg":"HS256\u0000"`, `"Alg":"HS256"`, `"ALG":"HS256"`, `"alg":"XS256"`,
		`"alg":"RS256"`, `"alg":"ES256"`, `"alg":"PS256"`, `"alg":"EdDSA"`, `"alg":"HS384"`, `"alg":"dir","enc":"A256GCM"`,
	} {
		add(member+" over HS256", Sign(secret, "{"+member+"}", claims))
	}
	add("HS384", SignSegments(sha512.New384, secret, encode(`{"alg":"HS384"}`), encode(claims)))
	add("HS512", SignSegments(sha512.New, secret, encode(`{"alg":"HS512"}`), encode(claims)))
	add("HS512 called HS256", SignSegments(sha512.New, secret, encode(DefaultHeader), encode(claims)))
	add("HS224 called HS256", SignSegments(sha256.New224, secret, encode(DefaultHeader), encode(claims)))

	// A true RS256 token of another issuer, and its public key for a secret.
	other := NewSigner("RS256", "")
	public := string(pem.EncodeToMemory(&pem.Block{
		Type:  "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(other.Public().(*rsa.PublicKey)),
	}))
	add("RS256 of another issuer", other.Sign(`{"alg":"RS256"}`, claims))
	add("HS256 over a public key", Sign(public, DefaultHeader, claims))
	add("HS256 over a trimmed public key", Sign(strings.TrimSpace(public), DefaultHeader, claims))
	add("RS256 with its key in the header", Sign("x", `{"alg":"RS256","jwk":`+other.JWK()+`}`, claims))
	return tokens
}
