package middleware

import (
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
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

// BenchmarkToken is the price of a token by what becomes of it. The peer of a new
// one, Fiber with plain contrib/jwt, is in tests/bench/peers/fiberjwt.
func BenchmarkToken(b *testing.B) {
	good, big := hostile.GoodClaims(epoch), 9<<10
	large := good.Add(`"x":"` + strings.Repeat("x", 5<<10) + `"`)
	deep := good.Add(`"x":` + strings.Repeat(`{"a":`, big/6) + "1" + strings.Repeat("}", big/6))
	// Three tokens in turn, and room for one: each is new whenever it comes.
	three := func(claims hostile.Claims) (tokens []string) {
		for _, jti := range []string{`"jti":"1"`, `"jti":"2"`, `"jti":"3"`} {
			tokens = append(tokens, hostile.Sign(testSecret, hostile.DefaultHeader, claims.Add(jti).String()))
		}
		return tokens
	}
	issuer := hostile.NewIssuer()
	keys := setOf(b, issuer.Signers()...)
	ours := func(size int) fiber.Handler {
		return newAuth(b, func(c *AuthConfig) { c.CacheSize = size }).Handler()
	}
	type row struct {
		name   string
		auth   fiber.Handler
		tokens []string
		status int
	}
	rows := []row{
		{"new", ours(1), three(good), fiber.StatusOK},
		{"new 7 KB", ours(1), three(large), fiber.StatusOK},
		{"remembered", ours(0), []string{goodToken()}, fiber.StatusOK},
		{"HS256 forged", ours(0), []string{hostile.Sign("x", hostile.DefaultHeader, good.String())}, fiber.StatusUnauthorized},
		{"HS256 forged 12 KB", ours(0), []string{hostile.Sign("x", hostile.DefaultHeader, deep.String())}, fiber.StatusUnauthorized},
		{"HS256 signed, a repeated name", ours(0), []string{hostile.Sign(testSecret, hostile.DefaultHeader, good.Add(`"jti":"1"`, `"jti":"2"`).String())}, fiber.StatusUnauthorized},
		{"HS256 signed, expired", ours(0), []string{hostile.Sign(testSecret, hostile.DefaultHeader, good.Set("exp", "1700000000").Add(`"jti":"1"`).String())}, fiber.StatusUnauthorized},
		{"RS256 without keys", ours(0), []string{hostile.Sign("x", `{"alg":"RS256"}`, good.String())}, fiber.StatusUnauthorized},
		{"RS256 without keys 12 KB", ours(0), []string{hostile.Sign("x", `{"alg":"RS256"}`, deep.String())}, fiber.StatusUnauthorized},
	}
	for _, s := range issuer.Signers() {
		verified := newAuth(b, func(c *AuthConfig) { c.PublicKeys, c.CacheSize = keys, 1 })
		tokens := []string{s.Token(good), s.Token(good.Add(`"jti":"2"`)), s.Token(good.Add(`"jti":"3"`))}
		rows = append(rows, row{"new " + s.Algorithm, verified.Handler(), tokens, fiber.StatusOK})
	}
	for _, c := range rows {
		b.Run(c.name, func(b *testing.B) {
			handler := chainOf(silent, c.auth)
			ctx := request(b, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			for i := range 3 {
				ctx.Request.Header.Set("Authorization", "Bearer "+c.tokens[i%len(c.tokens)])
				handler(ctx)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if len(c.tokens) > 1 {
					ctx.Request.Header.Set("Authorization", "Bearer "+c.tokens[i%len(c.tokens)])
				}
				ctx.Response.Reset()
				ctx.ResetUserValues()
				handler(ctx)
			}
			require.Equal(b, c.status, ctx.Response.StatusCode())
		})
	}
}
