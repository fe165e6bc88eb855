package server

import (
	"bytes"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// What makes two readers disagree on where a request ends, or what it says.
// fasthttp takes all of these; a proxy in front may read them otherwise, and
// the difference is a way to smuggle requests (RFC 9112 §11.2).
var (
	errFramedTwice = middleware.NewError(middleware.CodeBadRequest, "Send Content-Length or Transfer-Encoding, not both.")
	errEncoding    = middleware.NewError(middleware.CodeBadRequest, "The only Transfer-Encoding taken here is chunked.")
	errHeaderLine  = middleware.NewError(middleware.CodeBadRequest, "The request headers are not valid HTTP/1.1.")
)

// ambiguous looks for them in raw, the header lines as they were received, and
// returns nil when there are none.
func ambiguous(raw []byte) *middleware.Error {
	var length, encoding bool
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return errHeaderLine // a bare line feed (§2.2)
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return errHeaderLine // a folded line (§5.2)
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if bytes.IndexByte(name, ' ') >= 0 {
			return errHeaderLine // no token (RFC 9110 §5.1)
		}
		switch {
		case isName(name, fiber.HeaderContentLength):
			length = true
		case isName(name, fiber.HeaderTransferEncoding):
			encoding = true
			if !strings.EqualFold(string(bytes.Trim(value, " \t")), "chunked") {
				return errEncoding // identity is gone since RFC 7230
			}
		}
	}
	if length && encoding {
		return errFramedTwice
	}
	return nil
}

func isName(name []byte, header string) bool {
	return len(name) == len(header) && strings.EqualFold(string(name), header)
}
