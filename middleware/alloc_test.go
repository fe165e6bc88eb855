//go:build !race

package middleware

import (
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// A request with a remembered token passes the whole chain of a read without
// one allocation, whatever it was signed with. The race detector allocates by
// itself, so it is left out.
func TestWarmReadAllocatesNothing(t *testing.T) {
	i := hostile.NewIssuer()
	tokens := map[string]string{"HS256": goodToken()}
	for _, s := range i.Signers() {
		tokens[s.Algorithm] = s.Token(hostile.GoodClaims(epoch))
	}
	auth := newAuth(t, func(c *AuthConfig) { c.PublicKeys = setOf(t, i.Signers()...) })
	document := []byte(`{"status":{}}`)
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/",
		NewRouteMetrics(metrics.NewSet(), "x").Edge(silent), auth.Handler(), RequireScope(ScopeRead),
		func(c *fiber.Ctx) error {
			c.Response().SetBodyRaw(document)
			return nil
		})
	handler := app.Handler()
	for algorithm, token := range tokens {
		ctx := request(t, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(token)+"\r\n")
		serve := func() {
			ctx.Response.Reset()
			ctx.ResetUserValues()
			handler(ctx)
		}
		serve()
		require.Equal(t, fiber.StatusOK, ctx.Response.StatusCode(), "%s", ctx.Response.Body())
		assert.Zero(t, testing.AllocsPerRun(2000, serve), algorithm)
		require.Equal(t, fiber.StatusOK, ctx.Response.StatusCode())
	}
}
