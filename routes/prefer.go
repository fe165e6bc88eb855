package routes

import (
	"bytes"
	"math"
	"strconv"
)

// preferredWait returns the seconds of the first preference `wait` in the fields of
// Prefer (RFC 7240 §2, §4.3); ok is false where there is none, or no number of seconds.
func preferredWait(fields [][]byte) (seconds int, ok bool) {
	for _, field := range fields {
		for len(field) > 0 {
			var preference []byte
			preference, field = cutQuoted(field, ',')
			preference, _ = cutQuoted(preference, ';') // its parameters change nothing
			name, value, _ := bytes.Cut(preference, []byte("="))
			if !bytes.EqualFold(bytes.Trim(name, " \t"), []byte("wait")) {
				continue
			}
			value = bytes.Trim(value, " \t")
			if last := len(value) - 1; last > 0 && value[0] == '"' && value[last] == '"' {
				value = value[1:last]
			}
			n, err := strconv.ParseUint(string(value), 10, 64)
			if number, is := err.(*strconv.NumError); is && number.Err == strconv.ErrRange {
				return math.MaxInt32, true
			}
			return int(min(n, math.MaxInt32)), err == nil
		}
	}
	return 0, false
}

// cutQuoted cuts text at the first separator that is not within a quoted string.
func cutQuoted(text []byte, separator byte) (before, after []byte) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == separator && !quoted:
			return text[:i], text[i+1:]
		}
	}
	return text, nil
}

// matches reports whether the fields of If-None-Match name tag, by weak comparison, or
// any with `*` (RFC 9110 §8.8.3, §13.1.2). What is malformed names nothing, and
// neither does what follows it in its field.
func matches(fields [][]byte, tag []byte) bool {
	for _, field := range fields {
		field = bytes.Trim(field, " \t")
		if len(field) == 1 && field[0] == '*' {
			return true
		}
		for {
			field = bytes.TrimPrefix(bytes.TrimLeft(field, " \t,"), []byte("W/"))
			if len(field) == 0 || field[0] != '"' {
				break
			}
			end := bytes.IndexByte(field[1:], '"') + 2
			if end < 2 {
				break
			}
			if bytes.Equal(field[:end], tag) {
				return true
			}
			field = bytes.TrimLeft(field[end:], " \t")
			if len(field) > 0 && field[0] != ',' {
				break
			}
		}
	}
	return false
}
