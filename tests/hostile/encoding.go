package hostile

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// respell returns another spelling of a base64url segment whose last character
// has unused bits, which a lenient decoder takes for the same bytes.
func respell(segment string) string {
	last := strings.IndexByte(alphabet, segment[len(segment)-1])
	return segment[:len(segment)-1] + string(alphabet[last|1])
}

// badEncodings spell the parts of a token in a way that is not theirs. Where
// the signature covers the spelling, it does so correctly.
func badEncodings(secret string, now time.Time) []Token {
	good := GoodClaims(now)
	// Long enough for both header and claims to have unused bits.
	header := padTo(DefaultHeader, 2)
	claims := padTo(good.String(), 2)
	h, p := encode(header), encode(claims)
	token := SignSegments(sha256.New, secret, h, p)
	s := token[strings.LastIndexByte(token, '.')+1:]

	var tokens []Token
	add := func(name, text string) { tokens = append(tokens, Token{Name: "encoding: " + name, Text: text}) }
	signed := func(h, p string) string { return SignSegments(sha256.New, secret, h, p) }

	add("header respelled", signed(respell(h), p))
	add("claims respelled", signed(h, respell(p)))
	add("header respelled in more bits", signed(respell(encode(padTo(header, 1))), p))
	add("claims respelled in more bits", signed(h, respell(encode(padTo(claims, 1)))))
	add("signature respelled", h+"."+p+"."+respell(s))
	add("header padded", signed(pad(h), p))
	add("claims padded", signed(h, pad(p)))
	add("signature padded", h+"."+p+"."+pad(s))
	add("claims too short for a byte", signed(h, p+"A"))
	add("header too short for a byte", signed("A", p))
	add("percent-encoded dots", strings.ReplaceAll(token, ".", "%2E"))
	add("quoted", `"`+token+`"`)
	add("in angle brackets", "<"+token+">")

	standard := strings.NewReplacer("-", "+", "_", "/")
	h2, p2, s2 := withSpecials(secret, good)
	add("standard alphabet in the claims", signed(h2, standard.Replace(p2)))
	add("standard alphabet in the signature", h2+"."+p2+"."+standard.Replace(s2))

	add("no dots", strings.ReplaceAll(token, ".", ""))
	add("one part", h)
	add("two parts", h+"."+p)
	add("four parts", token+".AAAA")
	add("five parts", token+".AAAA.AAAA")
	add("JWE", encode(`{"alg":"dir","enc":"A256GCM"}`)+"..AAAA.AAAA.AAAA")
	add("dot before", "."+token)
	add("dot behind", token+".")
	add("dots only", "..")
	add("no header", "."+p+"."+s)
	add("no claims", signed(h, ""))
	add("no signature", h+"."+p+".")
	add("two dots between", h+".."+p+"."+s)
	add("not a token", "null")
	add("one character", "x")
	return tokens
}

// padTo adds JSON white space until the base64 of text has unused bits.
func padTo(text string, remainder int) string {
	for len(text)%3 != remainder {
		text = text[:len(text)-1] + " " + text[len(text)-1:]
	}
	return text
}

func pad(segment string) string { return segment + strings.Repeat("=", (4-len(segment)%4)%4) }

// withSpecials finds a token with - or _ in both its claims and its signature.
func withSpecials(secret string, claims Claims) (h, p, s string) {
	for i := 0; ; i++ {
		token := Sign(secret, DefaultHeader, claims.Add(fmt.Sprintf(`"x":"~~~???>>>%d"`, i)).String())
		parts := strings.Split(token, ".")
		if strings.ContainsAny(parts[1], "-_") && strings.ContainsAny(parts[2], "-_") {
			return parts[0], parts[1], parts[2]
		}
	}
}

// badSignatures are good tokens but for who signed them, or how much of it.
func badSignatures(secret string, now time.Time) []Token {
	claims := GoodClaims(now).String()
	token := Sign(secret, DefaultHeader, claims)
	dot := strings.LastIndexByte(token, '.')
	signed, signature := token[:dot], token[dot+1:]
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		panic(err) // it was encoded two lines ago
	}

	var tokens []Token
	add := func(name, text string) { tokens = append(tokens, Token{Name: "signature: " + name, Text: text}) }
	replaced := func(b []byte) string { return signed + "." + base64.RawURLEncoding.EncodeToString(b) }

	add("another secret", Sign(secret+"x", DefaultHeader, claims))
	add("empty secret", Sign("", DefaultHeader, claims))
	add("secret with a line break", Sign(secret+"\n", DefaultHeader, claims))
	add("secret in base64", Sign(base64.StdEncoding.EncodeToString([]byte(secret)), DefaultHeader, claims))
	add("secret cut short", Sign(secret[:len(secret)-1], DefaultHeader, claims))
	add("truncated by a byte", replaced(raw[:31]))
	add("truncated to half", replaced(raw[:16]))
	add("one byte of it", replaced(raw[:1]))
	add("extended by a byte", replaced(append(append([]byte(nil), raw...), 0)))
	add("doubled", replaced(append(append([]byte(nil), raw...), raw...)))
	add("all zero", replaced(make([]byte, 32)))
	add("hexadecimal", signed+"."+hex.EncodeToString(raw))
	flipped := append([]byte(nil), raw...)
	flipped[31] ^= 1
	add("one bit flipped", replaced(flipped))
	other := Sign(secret, DefaultHeader, GoodClaims(now).Set("sub", `"other"`).String())
	add("of another token", signed+other[strings.LastIndexByte(other, '.'):])
	add("claims changed under it", encode(DefaultHeader)+"."+
		encode(GoodClaims(now).Set("sub", `"root"`).String())+"."+signature)
	add("header changed under it", encode(`{"alg":"HS256"}`)+signed[strings.IndexByte(signed, '.'):]+"."+signature)
	return tokens
}
