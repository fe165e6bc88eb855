package middleware

import (
	"bufio"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// testSecret signs what the tests of this package call a good token.
const testSecret = "a secret of the middleware tests, 40 bytes"

// epoch is the moment at which the tests' clocks start.
var epoch = time.Unix(1_800_000_000, 0)

var silent = slog.New(slog.DiscardHandler)

// chainOf is an application whose one path runs handlers behind a request id
// and the error envelope, and ends with a plain 200.
func chainOf(logger *slog.Logger, handlers ...fiber.Handler) fasthttp.RequestHandler {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	all := slices.Concat(
		[]fiber.Handler{NewRouteMetrics(metrics.NewSet(), "x").Edge(logger)},
		handlers,
		[]fiber.Handler{func(c *fiber.Ctx) error { return c.SendString("passed") }},
	)
	app.All("/", all...)
	return app.Handler()
}

// behind is a chain of handlers behind auth.
func behind(auth *Authenticator, handlers ...fiber.Handler) fasthttp.RequestHandler {
	return chainOf(silent, append([]fiber.Handler{auth.Handler()}, handlers...)...)
}

// newAuth is an Authenticator with testSecret at epoch, changed by edit.
func newAuth(t testing.TB, edit func(*AuthConfig)) *Authenticator {
	t.Helper()
	config := AuthConfig{
		Secrets: [][]byte{[]byte(testSecret)},
		Now:     func() time.Time { return epoch },
	}
	if edit != nil {
		edit(&config)
	}
	auth, err := NewAuthenticator(config)
	require.NoError(t, err)
	return auth
}

// remembered is how many tokens the Authenticator with the metrics of set keeps.
func remembered(set *metrics.Set) int {
	return int(set.GetOrCreateGauge("bus_vm_token_cache_entries", nil).Get())
}

// signed is a token of newAuth with claims.
func signed(claims hostile.Claims) string {
	return hostile.Sign(testSecret, hostile.DefaultHeader, claims.String())
}

// goodToken is accepted by newAuth until an hour after epoch.
func goodToken() string { return signed(hostile.GoodClaims(epoch)) }

// tokenWith is a good token whose claim name is value, in raw JSON; "" is none.
func tokenWith(name, value string) string {
	claims := hostile.GoodClaims(epoch).Without(name)
	if value != "" {
		claims = claims.Add(`"` + name + `":` + value)
	}
	return signed(claims)
}

// ask sends one request, whose header lines and body are raw, and returns the
// whole response with the request id made the same for all.
func ask(t testing.TB, handler fasthttp.RequestHandler, headers, body string) string {
	t.Helper()
	raw := "POST / HTTP/1.1\r\nHost: x\r\n" + headers
	if body != "" {
		raw += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	ctx := request(t, raw+"\r\n"+body)
	handler(ctx)
	return wire.Anonymous(ctx.Response.String())
}

// request parses raw the way the server does.
func request(t testing.TB, raw string) *fasthttp.RequestCtx {
	t.Helper()
	ctx := new(fasthttp.RequestCtx)
	err := ctx.Request.Read(bufio.NewReaderSize(strings.NewReader(raw), 64<<10))
	require.NoError(t, err, "the request itself must be readable")
	return ctx
}

// bearer is the header line for token.
func bearer(token string) string { return "Authorization: Bearer " + token + "\r\n" }

// passed is the whole response of a request that got through.
const passed = `HTTP/1.1 200 OK
Content-Type: text/plain; charset=utf-8
Content-Length: 6
X-Request-Id: <id>

passed`

var refused = wire.Refusal

// The answers to a request without a valid token.
var (
	missing = refused("401 Unauthorized", "Www-Authenticate: Bearer realm=\"bus-vm\"\n",
		"invalid_auth", "Send a bearer token: Authorization: Bearer <jwt>.")
	invalid = refused("401 Unauthorized", "Www-Authenticate: Bearer realm=\"bus-vm\", error=\"invalid_token\"\n",
		"invalid_auth", "The bearer token is not valid for this API.")
	expired = refused("401 Unauthorized",
		"Www-Authenticate: Bearer realm=\"bus-vm\", error=\"invalid_token\", error_description=\"the token has expired\"\n",
		"invalid_auth", "The bearer token has expired. Get a new one.")
)
