package middleware

import (
	"strings"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
)

// A well-formed X-Request-Id comes back, in a reply as in a refusal; any other
// is replaced by one of our own.
func TestRequestID(t *testing.T) {
	taken := func(id string) string {
		ctx := request(t, "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: "+id+"\r\n\r\n")
		chainOf(silent)(ctx)
		return string(ctx.Response.Header.Peek(fiber.HeaderXRequestID))
	}
	for _, id := range []string{
		"a", "0", "abc-DEF_1.2:3=4+5/6", "9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", strings.Repeat("x", 128),
	} {
		assert.Equal(t, id, taken(id))
		body := ask(t, chainOf(silent, RequireAccount()), "x-request-id: "+id+"\r\n", "")
		assert.Contains(t, body, "\nX-Request-Id: "+id+"\n")
		assert.Contains(t, body, `"request_id":"`+id+`"}}`)
	}
	for _, id := range []string{
		"", " ", strings.Repeat("x", 129), "a b", "a\tb", `a"b`, "a'b", "<a>", "a,b", "a;b", "a\\b", "a%20b", "a\x80b", "å", "a{b}", "a&b", "a|b", "$(a)", "`a`",
	} {
		assert.Regexp(t, `^[0-9a-f]{32}$`, taken(id), "%q", id)
	}
}

// Ids that are made never repeat, however many are made at once.
func TestRequestIDsAreUnique(t *testing.T) {
	handler := chainOf(silent)
	var mu sync.Mutex
	seen := map[string]bool{}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 1000 {
				ctx := request(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				handler(ctx)
				mu.Lock()
				seen[string(ctx.Response.Header.Peek(fiber.HeaderXRequestID))] = true
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	assert.Len(t, seen, 4000)
}
