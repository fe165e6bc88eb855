package hostile

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// spoil are good tokens but for the raw JSON of one claim, which names them.
func spoil(secret string, now time.Time, claim string, values ...string) (tokens []Token) {
	for _, raw := range values {
		text := Sign(secret, DefaultHeader, GoodClaims(now).Set(claim, raw).String())
		tokens = append(tokens, Token{Name: claim + " " + raw, Text: text})
	}
	return tokens
}

func without(secret string, now time.Time, claim string) []Token {
	return []Token{{Name: claim + " missing", Text: Sign(secret, DefaultHeader, GoodClaims(now).Without(claim).String())}}
}

func badDates(secret string, now time.Time) []Token {
	unix := now.Unix()
	soon := fmt.Sprint(unix + 60)
	const pastYear9999 = "253402300800"
	expired := spoil(secret, now, "exp",
		// a second ago, at this moment, half a second ago, and in 1970
		fmt.Sprint(unix-1), fmt.Sprint(unix), fmt.Sprintf("%d.5", unix-1), "1", "1e-300")
	for i := range expired {
		expired[i].Expired = true
	}
	return slices.Concat(expired, without(secret, now, "exp"), spoil(secret, now, "exp",
		"0", "0.0", "0e9", "-0", fmt.Sprint(-unix), `"`+soon+`"`, `""`, "true", "null", "["+soon+"]", "{}",
		"1e400", "-1e400", "1e300", "9223372036854775808", "18446744073709551617", soon+"000", pastYear9999,
		"0x7fffffff", "0"+soon, "+"+soon, "NaN", "Infinity",
	), spoil(secret, now, "nbf", // a token without nbf is a good one
		fmt.Sprintf(`"%d"`, unix-60), "false", "null", "[]", "{}", "1e400", pastYear9999,
		fmt.Sprint(unix+1), fmt.Sprintf("%d.5", unix), fmt.Sprint(unix+1<<30),
	))
}

func badAudiences(secret string, now time.Time) []Token {
	return append(without(secret, now, "aud"), spoil(secret, now, "aud",
		"null", "1", "true", `{"ai.hg.fi/api":true}`, `""`, "[]", `"ai.hg.fi/other"`, `["ai.hg.fi/other","api"]`,
		`[["ai.hg.fi/api"]]`, `["ai.hg.fi/api",1]`, `["ai.hg.fi/api",null]`, `[{},"ai.hg.fi/api"]`,
		`"ai.hg.fi/ap"`, `"ai.hg.fi/api2"`, `"ai.hg.fi/api/vm"`, `"ai.hg.fi/api/"`, `"https://ai.hg.fi/api"`,
		`"AI.HG.FI/API"`, `"ai.hg.fi/API"`, `" ai.hg.fi/api"`, `"ai.hg.fi/api "`, `"ai.hg.fi/api\u0000"`,
		`"ai.hg.fi/api other"`, `"ai.hg.fi/api,other"`, `"*"`,
		`"аi.hg.fi/api"`, // a letter that looks like a
	)...)
}

func badSubjects(secret string, now time.Time) []Token {
	return slices.Concat(without(secret, now, "sub"), spoil(secret, now, "sub",
		`""`, `" "`, `" \t\r\n"`, `"\u00a0"`, "7", "true", "null", `["caller"]`, "{}",
	), spoil(secret, now, "scope", // a token without scope is good for nothing, but good
		"1", "true", "null", `["vm:read","vm:write"]`, `{"vm:read":true}`,
	))
}

// badNames are claims that only a lenient decoder finds, or finds twice.
func badNames(secret string, now time.Time) []Token {
	good := GoodClaims(now)
	unix := now.Unix()
	var tokens []Token
	add := func(name string, claims Claims) {
		tokens = append(tokens, Token{Name: name, Text: Sign(secret, DefaultHeader, claims.String())})
	}
	for _, claim := range []string{"sub", "aud", "exp"} {
		for _, other := range []string{strings.ToUpper(claim), strings.ToUpper(claim[:1]) + claim[1:]} {
			renamed := make(Claims, len(good))
			for i, m := range good {
				renamed[i] = strings.Replace(m, `"`+claim+`"`, `"`+other+`"`, 1)
			}
			add("only "+other, renamed)
		}
	}
	add("subject with a long s", good.Replace("sub", `"ſub":"caller"`))
	add("sub twice", good.Add(`"sub":"root"`))
	add("aud twice, the last good", good.Replace("aud", `"aud":"other","aud":"ai.hg.fi/api"`))
	add("aud twice, the first good", good.Add(`"aud":"other"`))
	add("aud twice, the same", good.Add(`"aud":"ai.hg.fi/api"`))
	add("exp twice, the last good", good.Replace("exp", fmt.Sprintf(`"exp":1,"exp":%d`, unix+60)))
	add("exp twice, the first good", good.Add(`"exp":1`))
	add("nbf twice", good.Add(fmt.Sprintf(`"nbf":%d`, unix+60), `"nbf":1`))
	add("scope twice", good.Add(`"scope":"vm:read"`))
	add("a name twice, once escaped", good.Add(`"\u0061ud":"other"`))
	add("an unknown name twice", good.Add(`"x":1`, `"x":2`))
	add("a nested name twice", good.Add(`"x":{"y":{"z":1,"z":2}}`))
	return tokens
}

// badDocuments are claims sets that are not one JSON object.
func badDocuments(secret string, now time.Time) (tokens []Token) {
	good := GoodClaims(now)
	text := good.String()
	for i, claims := range []string{
		"", " \n", "null", "[" + text + "]", `"ai.hg.fi/api"`, "1", "{}", text + text, text + ",", text + "}", text + "\x00",
		"\ufeff" + text, text + "\ufeff", "\u00a0" + text, strings.TrimSuffix(text, "}"), good.Add(``).String(), good.Add(`"x":1/**/`).String(),
		strings.ReplaceAll(text, `"`, `'`), strings.ReplaceAll(text, `"aud"`, `aud`),
		good.Set("sub", "\"a\xff\"").String(), good.Add("\"x\":\"\xc3\x28\"").String(), // invalid UTF-8
		good.Set("aud", "\"ai.hg.fi\xc0\xafapi\"").String(), // overlong UTF-8
		good.Set("sub", `"\ud800"`).String(), good.Set("sub", "\"a\nb\"").String(), good.Set("sub", `"\x61"`).String(),
		good.Add(`"x":` + strings.Repeat("[", 10001)).String(), utf16(text),
		good.Add(`"x":"` + strings.Repeat("x", 6<<10) + `"`).String(), // more than 8 KiB in all
	} {
		tokens = append(tokens, Token{Name: fmt.Sprintf("claims %d: %.200q", i, claims), Text: Sign(secret, DefaultHeader, claims)})
	}
	return tokens
}

// utf16 spells ASCII text in UTF-16 with a byte order mark.
func utf16(text string) string {
	b := []byte{0xff, 0xfe}
	for i := range len(text) {
		b = append(b, text[i], 0)
	}
	return string(b)
}
