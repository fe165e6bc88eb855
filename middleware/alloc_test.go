//go:build !race

package middleware

import (
	"log/slog"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A request with a remembered token passes the whole chain of a read without
// one allocation. The race detector allocates by itself, so it is left out.
func TestWarmReadAllocatesNothing(t *testing.T) {
	document := []byte(`{"status":{}}`)
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/",
		RequestID(NewRequestIDs()), Errors(slog.New(slog.DiscardHandler)), NoStore(),
		newAuth(t, nil).Handler(), RequireScope(ScopeRead),
		func(c *fiber.Ctx) error {
			c.Response().SetBodyRaw(document)
			return nil
		})
	handler := app.Handler()
	ctx := request(t, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(goodToken())+"\r\n")
	serve := func() {
		ctx.Response.Reset()
		ctx.ResetUserValues()
		handler(ctx)
	}
	serve()
	require.Equal(t, fiber.StatusOK, ctx.Response.StatusCode(), "%s", ctx.Response.Body())
	assert.Zero(t, testing.AllocsPerRun(2000, serve))
	require.Equal(t, fiber.StatusOK, ctx.Response.StatusCode())
}
