package token

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// FuzzClaims signs any claims at all. Nothing may panic, and what is let
// through must pass an independent reading of the rules as well.
func FuzzClaims(f *testing.F) {
	good := hostile.GoodClaims(epoch)
	for _, seed := range []string{
		good.String(), "", "null", "{}", "[]", good.String() + "{}", "\ufeff" + good.String(),
		good.Set("aud", `["x","ai.hg.fi/api"]`).String(), good.Set("aud", `[["ai.hg.fi/api"]]`).String(),
		good.Add(`"AUD":1`).String(), good.Add(`"aud":1`).String(), good.Add(`"\u0061ud":1`).String(),
		good.Set("exp", "1800000000.5").String(), good.Set("exp", "1e400").String(), good.Set("exp", `"1900000000"`).String(),
		good.Add(`"nbf":1800000000`).String(), good.Add(`"nbf":-1`).String(), good.Add(`"x":{"y":1,"y":2}`).String(),
		good.Set("sub", "\"\xff\"").String(), good.Set("sub", `"\ud800"`).String(), good.Set("scope", `"a\tb"`).String(),
	} {
		f.Add([]byte(seed))
	}
	v := newVerifier(f, nil)
	f.Fuzz(func(t *testing.T, claims []byte) {
		if len(claims) > 8<<10 {
			return // longer than any request header
		}
		token := hostile.Sign(testSecret, hostile.DefaultHeader, string(claims))
		id, err := verify(v, token)
		if err != nil {
			return
		}
		if !utf8.Valid(claims) || !uniqueNames(json.NewDecoder(bytes.NewReader(claims))) {
			t.Fatalf("let through %q, which is no UTF-8 or has a name twice", claims)
		}
		// golang-jwt and encoding/json, which are lenient, read the same in what is
		// accepted, and it is right.
		plain := jwt.MapClaims{}
		secret := func(*jwt.Token) (any, error) { return []byte(testSecret), nil }
		if _, err := jwt.NewParser(jwt.WithoutClaimsValidation()).ParseWithClaims(token, plain, secret); err != nil {
			t.Fatalf("let through %q, although golang-jwt says %v", claims, err)
		}
		now := float64(epoch.Unix())
		subject, _ := plain["sub"].(string)
		audience, err := plain.GetAudience()
		scope, isText := plain["scope"].(string)
		expires, _ := plain["exp"].(float64)
		begins, isNumber := plain["nbf"].(float64)
		_, hasScope := plain["scope"]
		_, hasBegin := plain["nbf"]
		switch {
		case strings.TrimSpace(subject) == "" || subject != id.Subject:
			t.Fatalf("of %q made the caller %q, not %q", claims, id.Subject, subject)
		case err != nil || !slices.Contains(audience, Audience):
			t.Fatalf("let through %q, which is for another audience", claims)
		case hasScope != isText || !slices.Equal(id.Scopes, slices.DeleteFunc(strings.Split(scope, " "), func(s string) bool { return s == "" })):
			t.Fatalf("of %q made the scopes %q", claims, id.Scopes)
		case expires <= now || expires > latestDate:
			t.Fatalf("let through %q, which has expired, or never will", claims)
		case hasBegin != isNumber || begins > now:
			t.Fatalf("let through %q, which is not valid yet", claims)
		}
	})
}

// uniqueNames reports whether no object of the next value repeats a name.
func uniqueNames(decoder *json.Decoder) bool {
	token, err := decoder.Token()
	if err != nil {
		return false
	}
	open, nested := token.(json.Delim)
	if !nested {
		return true
	}
	seen := map[json.Token]bool{}
	for decoder.More() {
		if open == '{' {
			name, err := decoder.Token()
			if err != nil || seen[name] {
				return false
			}
			seen[name] = true
		}
		if !uniqueNames(decoder) {
			return false
		}
	}
	_, err = decoder.Token()
	return err == nil
}
