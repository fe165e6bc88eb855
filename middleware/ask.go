package middleware

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// preference is one of a Prefer field, between commas that are in no quotes.
var preference = regexp.MustCompile(`(?:[^,"]|"(?:\\.|[^"\\])*"?)+`)

// PreferWait is how many seconds the caller prefers to wait for the answer (RFC
// 7240 §4.3), if it does. Only the first preference of that name counts, and not
// if it is malformed.
func PreferWait(c *fiber.Ctx) (seconds int, ok bool) {
	for _, field := range c.Request().Header.PeekAll("Prefer") {
		for _, wish := range preference.FindAllString(string(field), -1) {
			wish, _, _ = strings.Cut(wish, ";") // its parameters, of which none is defined
			name, value, _ := strings.Cut(wish, "=")
			if !strings.EqualFold(strings.Trim(name, " \t"), "wait") {
				continue
			}
			value = strings.Trim(value, " \t")
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1] // RFC 7240 §2: means the same
			}
			n, err := strconv.ParseUint(value, 10, 64) // the largest if it is too large
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return 0, false
			}
			return int(min(n, math.MaxInt32)), true
		}
	}
	return 0, false
}

// maxKey is the most characters of an idempotency key.
const maxKey = 255

var (
	plainKey  = regexp.MustCompile(`^[!#-~][ -~]*$`)
	quotedKey = regexp.MustCompile(`^"(?:[ !#-\[\]-~]|\\["\\])*"$`) // RFC 8941 §3.3.3

	errKey = NewError(CodeBadRequest, "Send one Idempotency-Key of 1 to 255 printable ASCII characters.")
)

// IdempotencyKey is the caller's key, empty for none, with or without the quotes of
// draft-ietf-httpapi-idempotency-key-header-07.
func IdempotencyKey(c *fiber.Ctx) (string, error) {
	fields := c.Request().Header.PeekAll("Idempotency-Key")
	if len(fields) == 0 {
		return "", nil
	}
	key := string(fields[0])
	switch {
	case quotedKey.MatchString(key):
		key = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(key[1 : len(key)-1])
	case !plainKey.MatchString(key):
		return "", errKey
	}
	if len(fields) > 1 || key == "" || len(key) > maxKey {
		return "", errKey
	}
	return key, nil
}
