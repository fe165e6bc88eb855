package middleware

import "bytes"

// maxPlainNames bounds the members of a claims set that is read the short way.
const maxPlainNames = 16

// plainDigits is how many digits of a date are read the short way; as many are
// exact in a float64.
const plainDigits = 15

// readPlain reads the claims sets that issuers write: one object of plain
// strings, lists of plain strings and whole numbers, without white space or
// escapes. It reports false for any other, and for every one that is to be
// refused: then c means nothing and UnmarshalJSON has the word. What it does
// take, it reads as UnmarshalJSON would; a test holds both to the same reading.
func (c *tokenClaims) readPlain(data []byte) bool {
	var names [maxPlainNames][]byte
	var hasExpiry bool
	in := plainReader{rest: data}
	if !in.take('{') {
		return false
	}
	for n := 0; ; n++ {
		name, ok := in.text()
		if !ok || n == maxPlainNames || contains(names[:n], name) || !in.take(':') {
			return false
		}
		names[n] = name
		switch string(name) {
		case "sub":
			value, ok := in.text()
			if !ok || len(bytes.TrimSpace(value)) == 0 {
				return false
			}
			c.subject = string(value)
		case "aud":
			if c.audience, ok = in.texts(); !ok {
				return false
			}
		case "scope":
			value, ok := in.text()
			if !ok {
				return false
			}
			c.scopes = splitScopes(value)
		case "exp":
			if c.expiresAt, hasExpiry = in.number(); !hasExpiry || c.expiresAt <= 0 || c.expiresAt > latestDate {
				return false
			}
		case "nbf":
			if c.notBefore, ok = in.number(); !ok || c.notBefore > latestDate {
				return false
			}
		default:
			if !in.skip() {
				return false
			}
		}
		if in.take(',') {
			continue
		}
		return in.take('}') && len(in.rest) == 0 && c.subject != "" && c.audience != nil && hasExpiry
	}
}

func contains(names [][]byte, name []byte) bool {
	for _, n := range names {
		if bytes.Equal(n, name) {
			return true
		}
	}
	return false
}

// splitScopes is strings.FieldsFunc at the ASCII space (RFC 6749 §3.3).
func splitScopes(value []byte) []string {
	scopes := make([]string, 0, bytes.Count(value, []byte{' '})+1)
	for len(value) > 0 {
		var scope []byte
		if scope, value, _ = bytes.Cut(value, []byte{' '}); len(scope) > 0 {
			scopes = append(scopes, familiar(scope))
		}
	}
	return scopes
}

// familiar is string(b), without a copy for the words of this API.
func familiar(b []byte) string {
	switch string(b) {
	case Audience:
		return Audience
	case ScopeRead:
		return ScopeRead
	case ScopeWrite:
		return ScopeWrite
	}
	return string(b)
}

// plainReader walks over plain JSON. What its methods return lies in the input.
type plainReader struct{ rest []byte }

// take skips one byte if it is c.
func (r *plainReader) take(c byte) bool {
	if len(r.rest) == 0 || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// text reads a string of printable ASCII without escapes.
func (r *plainReader) text() ([]byte, bool) {
	if !r.take('"') {
		return nil, false
	}
	for i, c := range r.rest {
		switch {
		case c == '"':
			text := r.rest[:i]
			r.rest = r.rest[i+1:]
			return text, true
		case c == '\\' || c < ' ' || c > '~':
			return nil, false
		}
	}
	return nil, false
}

// texts reads one string, or a list of at least one.
func (r *plainReader) texts() (values []string, ok bool) {
	list := r.take('[')
	for {
		value, ok := r.text()
		if !ok {
			return nil, false
		}
		values = append(values, familiar(value))
		if !list || !r.take(',') {
			return values, !list || r.take(']')
		}
	}
}

// number reads a whole number that is not negative.
func (r *plainReader) number() (float64, bool) {
	var n int64
	var digits int
	for digits < len(r.rest) && '0' <= r.rest[digits] && r.rest[digits] <= '9' {
		n = n*10 + int64(r.rest[digits]-'0')
		if digits++; digits > plainDigits {
			return 0, false
		}
	}
	if digits == 0 || digits > 1 && r.rest[0] == '0' {
		return 0, false
	}
	r.rest = r.rest[digits:]
	return float64(n), true
}

// skip passes over a value that is not looked at.
func (r *plainReader) skip() bool {
	var ok bool
	if len(r.rest) > 0 && r.rest[0] != '"' && r.rest[0] != '[' {
		_, ok = r.number()
	} else {
		_, ok = r.texts()
	}
	return ok
}
