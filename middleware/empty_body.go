package middleware

import (
	"bytes"

	"github.com/gofiber/fiber/v2"
)

// jsonSpace is the white space of JSON (RFC 8259 §2).
const jsonSpace = " \t\r\n"

var errBody = NewError(CodeBadRequest,
	"This request takes no parameters: send no body, or an empty JSON object.")

// EmptyBody refuses a request whose body is anything but nothing, white space
// or an empty JSON object, so that no caller assumes that a parameter had an effect.
func EmptyBody() fiber.Handler {
	return func(c *fiber.Ctx) error {
		if !isEmptyBody(c.Request().Body()) {
			return errBody
		}
		return c.Next()
	}
}

func isEmptyBody(body []byte) bool {
	body = bytes.Trim(body, jsonSpace)
	if len(body) == 0 {
		return true
	}
	inner, ok := bytes.CutPrefix(body, []byte{'{'})
	if !ok {
		return false
	}
	inner, ok = bytes.CutSuffix(inner, []byte{'}'})
	return ok && len(bytes.Trim(inner, jsonSpace)) == 0
}
