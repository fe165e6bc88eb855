package secret

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// Redact cuts out of foreign text what looks like a credential, and leaves the
// words around it: `a bearer token is required` names none. Doing it twice
// changes nothing.
func Redact(text string) string {
	for _, c := range credentials {
		text = c.pattern.ReplaceAllStringFunc(text, func(match string) string {
			groups := c.pattern.FindStringSubmatch(match)
			if c.unless != nil && c.unless(groups) {
				return match
			}
			return groups[1] + Redacted + groups[len(groups)-1]
		})
	}
	return text
}

const (
	// value is that of a member, a parameter or a header, in quotes or not; what
	// ends a sentence is not part of it.
	value = `(?:\[redacted\]|\\"[^"\\]*(?:\\")?|"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s"'&;]*[^\s"'&;,.!)\]}\\])`
	named = `\\?["']?\s*[:=]\s*`
	// scheme is that of an Authorization header (RFC 9110 §11.6.2).
	scheme = `((?i:bearer|basic|digest|negotiate|token|apikey)\s+)?`
)

// credentials are patterns of three groups at least: the first and the last of
// them stay.
var credentials = []struct {
	pattern *regexp.Regexp
	unless  func(groups []string) bool // the match is plain words
}{
	{regexp.MustCompile(`()-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)()`), nil},
	{regexp.MustCompile(`(://)[^\s"'<>/?#]*:[^\s"'<>]*(@)`), nil}, // RFC 3986 §3.2.1
	{regexp.MustCompile(`((?i:[\w.-]*passw(?:or)?d|[\w.-]*passphrase|\bpwd|\bpass|[\w.-]*(?:api|access|secret|private|signing|shared|account|auth|encryption|master)[-_. ]?key)` + named + `)` + value + `()`), nil},
	{regexp.MustCompile(`((?i:[\w.-]*(?:token|secret|credentials?|authorization|cookie))` + named + `)` + scheme + `(` + value + `)()`), func(groups []string) bool {
		return groups[2] == "" && strings.HasSuffix(strings.TrimSpace(groups[1]), ":") && word.MatchString(groups[3])
	}},
	{regexp.MustCompile(`()(?i:\bbearer\s+)([^\s"',;]+)()`), func(groups []string) bool { return afterBearer.MatchString(groups[2]) }},
	{regexp.MustCompile(`()(?i:\bbasic\s+)([A-Za-z0-9+/_-]{2,}=*)()`), func(groups []string) bool { return !isBasic(groups[2]) }},
	// What begins like a JOSE header (`{"` in base64url), and three long base64url
	// parts with dots between them (RFC 7515 §7.1).
	{regexp.MustCompile(`()ey[IJ][A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*()`), nil},
	{regexp.MustCompile(`()[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}()`), nil},
}

var (
	word        = regexp.MustCompile(`^[A-Za-z]?[a-z]*$`)
	afterBearer = regexp.MustCompile(`^(?i:tokens?|jwts?|auth|authentication|authorization|credentials?|headers?|schemes?|format|prefix|realm=?|error=?|` +
		`is|was|are|has|or|and|not|must|in|for|of|to|from|with|required|missing|expired|invalid)[.:!?)]*$`)
)

// isBasic reports the credentials of RFC 7617 §2: base64 of a user, a colon and
// a password.
func isBasic(text string) bool {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	decoded, err := base64.RawStdEncoding.DecodeString(text)
	return err == nil && strings.Contains(string(decoded), ":")
}
