package middleware

import (
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
)

// BenchmarkStage is what each stage of a warm read costs on top of the first
// row, which is Fiber's own part; scope stands behind authentication.
func BenchmarkStage(b *testing.B) {
	auth := newAuth(b, nil)
	for _, stage := range []struct {
		name     string
		handlers []fiber.Handler
	}{
		{"nothing", nil},
		{"edge", []fiber.Handler{NewRouteMetrics(metrics.NewSet(), "bench").Edge(silent)}},
		{"authentication", []fiber.Handler{auth.Handler()}},
		{"authentication and scope", []fiber.Handler{auth.Handler(), RequireScope(ScopeRead)}},
	} {
		b.Run(stage.name, func(b *testing.B) {
			app := fiber.New(fiber.Config{DisableStartupMessage: true})
			app.Get("/", append(stage.handlers, func(*fiber.Ctx) error { return nil })...)
			handler := app.Handler()
			ctx := request(b, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(goodToken())+"\r\n")
			for range 2 {
				handler(ctx) // the second use of a token is remembered
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				ctx.ResetUserValues()
				handler(ctx)
			}
			require.Equal(b, fiber.StatusOK, ctx.Response.StatusCode())
		})
	}
}
