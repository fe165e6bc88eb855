package middleware

import (
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// BenchmarkColdToken is the price of a token that is seen for the first time,
// by algorithm.
func BenchmarkColdToken(b *testing.B) {
	i := newIssuer()
	tokens := map[string]string{"HS256": goodToken()}
	for _, s := range i.signers() {
		tokens[s.Algorithm] = s.Token(hostile.GoodClaims(epoch))
	}
	auth, handler := withKeys(b, setOf(b, i.signers()...))
	for algorithm, token := range tokens {
		b.Run(algorithm, func(b *testing.B) {
			ctx := request(b, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(token)+"\r\n")
			b.ReportAllocs()
			for b.Loop() {
				auth.ring.Load().verified.entries.InvalidateAll()
				ctx.Response.Reset()
				ctx.ResetUserValues()
				handler(ctx)
			}
			require.Equal(b, fiber.StatusOK, ctx.Response.StatusCode())
		})
	}
}
