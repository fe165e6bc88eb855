package token

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
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
		got := id.Subject + "|" + strings.Join(id.Scopes, "|")
		want, reason := readSlowly(claims)
		if reason != "" {
			t.Fatalf("let through %q, although %s", claims, reason)
		}
		if got != want {
			t.Fatalf("of %q made the caller %q, not %q", claims, got, want)
		}
		// golang-jwt, which is lenient, reads the same in what is accepted.
		plain := jwt.MapClaims{}
		secret := func(*jwt.Token) (any, error) { return []byte(testSecret), nil }
		if _, err := jwt.NewParser(jwt.WithoutClaimsValidation()).ParseWithClaims(token, plain, secret); err != nil {
			t.Fatalf("let through %q, although golang-jwt says %v", claims, err)
		}
		subject, _ := plain.GetSubject()
		audience, _ := plain.GetAudience()
		if subject != id.Subject || !slices.Contains(audience, Audience) {
			t.Fatalf("of %q golang-jwt read %q for %q", claims, subject, audience)
		}
	})
}

// readSlowly reads claims by encoding/json's token stream and exact
// numbers. It returns `subject|scope|scope`, or why they are no good.
func readSlowly(data []byte) (caller, reason string) {
	if !utf8.Valid(data) {
		return "", "it is not UTF-8"
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, unique := readValue(decoder)
	claims, ok := value.(map[string]any)
	if _, err := decoder.Token(); !ok || !unique || err != io.EOF {
		return "", "it is not one object with unique names"
	}
	subject, _ := claims["sub"].(string)
	if strings.TrimSpace(subject) == "" {
		return "", "it has no subject"
	}
	if !slices.Contains(stringsOf(claims["aud"]), Audience) {
		return "", "it is for another audience"
	}
	scope, ok := claims["scope"].(string)
	if _, has := claims["scope"]; has != ok {
		return "", "its scope is no string"
	}
	// A microsecond is more than float64 loses on dates of this age.
	now, slack := big.NewFloat(float64(epoch.Unix())), big.NewFloat(1e-6)
	if exp := numberOf(claims["exp"]); exp == nil || exp.Cmp(now) <= 0 || exp.Cmp(big.NewFloat(latestDate+1)) >= 0 {
		return "", "it has expired, or never will"
	}
	if raw, has := claims["nbf"]; has {
		if nbf := numberOf(raw); nbf == nil || new(big.Float).Sub(nbf, now).Cmp(slack) > 0 {
			return "", "it is not valid yet"
		}
	}
	scopes := slices.DeleteFunc(strings.Split(scope, " "), func(s string) bool { return s == "" })
	return subject + "|" + strings.Join(scopes, "|"), ""
}

// readValue reads the next value; unique tells whether no object in it
// repeats a name. After an error it returns nil.
func readValue(decoder *json.Decoder) (value any, unique bool) {
	token, err := decoder.Token()
	if err != nil {
		return nil, false
	}
	unique = true
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for decoder.More() {
			name, err := decoder.Token()
			if err != nil {
				return nil, false
			}
			_, repeated := object[name.(string)]
			member, ok := readValue(decoder)
			object[name.(string)], unique = member, unique && ok && !repeated
			if !unique {
				return nil, false
			}
		}
		value = object
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			item, ok := readValue(decoder)
			if !ok {
				return nil, false
			}
			list = append(list, item)
		}
		value = list
	default:
		return token, true
	}
	if _, err := decoder.Token(); err != nil {
		return nil, false
	}
	return value, unique
}

// stringsOf is a string, or a list of nothing but strings; else nil.
func stringsOf(value any) []string {
	if text, ok := value.(string); ok {
		return []string{text}
	}
	items, _ := value.([]any)
	list := make([]string, 0, len(items))
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			return nil
		}
		list = append(list, text)
	}
	return list
}

func numberOf(value any) *big.Float {
	number, ok := value.(json.Number)
	if !ok {
		return nil
	}
	exact, _, err := big.ParseFloat(string(number), 10, 200, big.ToNearestEven)
	if err != nil {
		return nil
	}
	return exact
}
