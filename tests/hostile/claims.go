package hostile

import (
	"fmt"
	"strings"
	"time"
)

// rawCase is a member with a value that spoils the token.
type rawCase struct{ name, raw string }

func spoil(secret string, now time.Time, claim string, cases []rawCase) []Token {
	tokens := []Token{{
		Name: claim + " missing",
		Text: Sign(secret, DefaultHeader, GoodClaims(now).Without(claim).String()),
	}}
	for _, c := range cases {
		tokens = append(tokens, Token{
			Name: claim + " " + c.name,
			Text: Sign(secret, DefaultHeader, GoodClaims(now).Set(claim, c.raw).String()),
		})
	}
	return tokens
}

func badDates(secret string, now time.Time) []Token {
	unix := now.Unix()
	tokens := spoil(secret, now, "exp", []rawCase{
		{"zero", "0"},
		{"zero with a fraction", "0.0"},
		{"zero with an exponent", "0e9"},
		{"negative zero", "-0"},
		{"negative", fmt.Sprint(-unix)},
		{"string", fmt.Sprintf(`"%d"`, unix+60)},
		{"empty string", `""`},
		{"boolean", "true"},
		{"null", "null"},
		{"list", fmt.Sprintf("[%d]", unix+60)},
		{"object", "{}"},
		{"overflow", "1e400"},
		{"negative overflow", "-1e400"},
		{"huge", "1e300"},
		{"beyond int64", "9223372036854775808"},
		{"beyond uint64", "18446744073709551617"},
		{"in milliseconds", fmt.Sprint((unix + 60) * 1000)},
		{"past the year 9999", "253402300800"},
		{"hexadecimal", "0x7fffffff"},
		{"leading zero", fmt.Sprintf("0%d", unix+60)},
		{"leading plus", fmt.Sprintf("+%d", unix+60)},
		{"not a number", "NaN"},
		{"infinite", "Infinity"},
		{"tiny", "1e-300"},
	})
	tokens[len(tokens)-1].Expired = true // a date, but in 1970

	expired := func(name, exp string) {
		tokens = append(tokens, Token{
			Name:    "exp " + name,
			Text:    Sign(secret, DefaultHeader, GoodClaims(now).Set("exp", exp).String()),
			Expired: true,
		})
	}
	expired("a second ago", fmt.Sprint(unix-1))
	expired("at this moment", fmt.Sprint(unix))
	expired("half a second ago", fmt.Sprintf("%d.5", unix-1))
	expired("long ago", "1")

	return append(tokens, spoil(secret, now, "nbf", []rawCase{
		{"string", fmt.Sprintf(`"%d"`, unix-60)},
		{"boolean", "false"},
		{"null", "null"},
		{"list", "[]"},
		{"object", "{}"},
		{"overflow", "1e400"},
		{"in the future", fmt.Sprint(unix + 1)},
		{"half a second in the future", fmt.Sprintf("%d.5", unix)},
		{"in the far future", fmt.Sprint(unix + 1<<30)},
		{"past the year 9999", "253402300800"},
	})[1:]...) // a token without nbf is a good one
}

func badAudiences(secret string, now time.Time) []Token {
	return spoil(secret, now, "aud", []rawCase{
		{"null", "null"},
		{"number", "1"},
		{"boolean", "true"},
		{"object", `{"ai.hg.fi/api":true}`},
		{"empty", `""`},
		{"empty list", "[]"},
		{"another", `"ai.hg.fi/other"`},
		{"others", `["ai.hg.fi/other","api"]`},
		{"nested list", `[["ai.hg.fi/api"]]`},
		{"list with a number beside", `["ai.hg.fi/api",1]`},
		{"list with null beside", `["ai.hg.fi/api",null]`},
		{"list with an object beside", `[{},"ai.hg.fi/api"]`},
		{"prefix", `"ai.hg.fi/ap"`},
		{"longer", `"ai.hg.fi/api2"`},
		{"path below", `"ai.hg.fi/api/vm"`},
		{"trailing slash", `"ai.hg.fi/api/"`},
		{"URL", `"https://ai.hg.fi/api"`},
		{"upper case", `"AI.HG.FI/API"`},
		{"mixed case", `"ai.hg.fi/API"`},
		{"space before", `" ai.hg.fi/api"`},
		{"space after", `"ai.hg.fi/api "`},
		{"NUL after", `"ai.hg.fi/api\u0000"`},
		{"two in one string", `"ai.hg.fi/api other"`},
		{"two with a comma", `"ai.hg.fi/api,other"`},
		{"lookalike letter", `"аi.hg.fi/api"`},
		{"wildcard", `"*"`},
	})
}

func badSubjects(secret string, now time.Time) []Token {
	return append(spoil(secret, now, "sub", []rawCase{
		{"empty", `""`},
		{"space", `" "`},
		{"white space", `" \t\r\n"`},
		{"no-break space", `"\u00a0"`},
		{"number", "7"},
		{"boolean", "true"},
		{"null", "null"},
		{"list", `["caller"]`},
		{"object", "{}"},
	}), spoil(secret, now, "scope", []rawCase{
		{"number", "1"},
		{"boolean", "true"},
		{"null", "null"},
		{"list", `["vm:read","vm:write"]`},
		{"object", `{"vm:read":true}`},
	})[1:]...) // a token without scope is good for nothing, but good
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
func badDocuments(secret string, now time.Time) []Token {
	good := GoodClaims(now)
	var tokens []Token
	for _, c := range []rawCase{
		{"nothing", ""},
		{"white space", " \n"},
		{"null", "null"},
		{"list", "[" + good.String() + "]"},
		{"string", `"ai.hg.fi/api"`},
		{"number", "1"},
		{"empty object", "{}"},
		{"two objects", good.String() + good.String()},
		{"an object and a comma", good.String() + ","},
		{"an object and a brace", good.String() + "}"},
		{"an object and a NUL", good.String() + "\x00"},
		{"byte order mark", "\ufeff" + good.String()},
		{"byte order mark behind", good.String() + "\ufeff"},
		{"no-break space before", "\u00a0" + good.String()},
		{"unterminated", strings.TrimSuffix(good.String(), "}")},
		{"trailing comma", good.Add(``).String()},
		{"comment", good.Add(`"x":1/**/`).String()},
		{"single quotes", strings.ReplaceAll(good.String(), `"`, `'`)},
		{"bare names", strings.ReplaceAll(good.String(), `"aud"`, `aud`)},
		{"invalid UTF-8 in a value", good.Set("sub", "\"a\xff\"").String()},
		{"invalid UTF-8 in an unknown member", good.Add("\"x\":\"\xc3\x28\"").String()},
		{"overlong UTF-8", good.Set("aud", "\"ai.hg.fi\xc0\xafapi\"").String()},
		{"half a surrogate pair", good.Set("sub", `"\ud800"`).String()},
		{"raw control character", good.Set("sub", "\"a\nb\"").String()},
		{"unknown escape", good.Set("sub", `"\x61"`).String()},
		{"depth", good.Add(`"x":` + strings.Repeat("[", 10001)).String()},
		{"UTF-16", utf16(good.String())},
	} {
		tokens = append(tokens, Token{Name: "claims: " + c.name, Text: Sign(secret, DefaultHeader, c.raw)})
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
