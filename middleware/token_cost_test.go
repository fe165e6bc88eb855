//go:build !race

package middleware

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// cost is the memory of one request, which is the same on every machine.
type cost struct{ bytes, allocs uint64 }

func (c cost) String() string { return fmt.Sprintf("%d bytes in %d allocations", c.bytes, c.allocs) }

func (c cost) within(bound cost, times uint64) bool {
	return c.bytes <= times*bound.bytes && c.allocs <= times*bound.allocs
}

// costOf measures a request with token, which must be answered with status.
func costOf(t *testing.T, handler fasthttp.RequestHandler, token string, status int) cost {
	t.Helper()
	ctx := request(t, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(token)+"\r\n")
	serve := func() {
		ctx.Response.Reset()
		ctx.ResetUserValues()
		handler(ctx)
	}
	const warm, runs = 20, 200
	for range warm { // fills the pools
		serve()
	}
	require.Equal(t, status, ctx.Response.StatusCode(), "%s", ctx.Response.Body())
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		serve()
	}
	runtime.ReadMemStats(&after)
	return cost{(after.TotalAlloc - before.TotalAlloc) / runs, (after.Mallocs - before.Mallocs) / runs}
}

// newTokenCost is what a token of HS256 with claims costs when it is accepted
// and not remembered: its requests alternate with those of another token that
// takes its place.
func newTokenCost(t *testing.T, claims hostile.Claims) cost {
	t.Helper()
	auth := newAuth(t, func(c *AuthConfig) { c.CacheSize = 1 })
	verified := behind(auth)
	other := request(t, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(signed(claims.Add(`"jti":"2"`)))+"\r\n")
	both := func(ctx *fasthttp.RequestCtx) {
		verified(ctx)
		if ctx.Response.StatusCode() == fiber.StatusOK {
			other.Response.Reset()
			other.ResetUserValues()
			verified(other)
		}
	}
	c := costOf(t, both, signed(claims.Add(`"jti":"1"`)), fiber.StatusOK)
	return cost{c.bytes / 2, c.allocs / 2}
}

// nested is a JSON value of about size bytes that is expensive to decode into
// memory: objects in objects, as deep as it goes.
func nested(size int) string {
	depth := size / len(`{"a":}`)
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

// A refused token costs at most what an accepted one of its size does, when it
// is signed with HS256, and at most twice that otherwise: a flood of forgeries
// is no cheaper way to load the gateway than a flood of good tokens. What one
// of the secrets signed may cost the error of the JSON decoder besides.
func TestRefusalsAreCheap(t *testing.T) {
	good := hostile.GoodClaims(epoch)
	ec := hostile.NewSigner("ES256", "e")
	const big = 5 << 10 // 7 KB in base64
	for _, size := range []struct {
		name  string
		extra string
	}{
		{"small", `"x":"x"`},
		{"7 KB", `"x":"` + strings.Repeat("x", big) + `"`},
		{"7 KB nested", `"x":` + nested(big)},
	} {
		// As long, and nothing in it that is expensive.
		flat := good.Add(`"x":"` + strings.Repeat("x", len(size.extra)-len(`"x":""`)) + `"`)
		accepted := newTokenCost(t, flat)
		text := good.Add(size.extra).String()
		sign := func(claims hostile.Claims) string {
			return signed(claims)
		}
		hs256 := map[string]string{
			"another secret": hostile.Sign("another secret, of at least 32 bytes", hostile.DefaultHeader, text),
			"no signature":   cut(sign(good.Add(size.extra))),
		}
		signed := map[string]string{
			"a wrong audience": sign(flat.Set("aud", `"other"`)),
			"expired":          sign(flat.Set("exp", "1700000000")),
			"no subject":       sign(flat.Without("sub")),
			"exp of no number": sign(flat.Set("exp", `"1900000000"`)),
			"a repeated name":  sign(flat.Add(`"sub":"x"`)),
			"claims cut off":   hostile.Sign(testSecret, hostile.DefaultHeader, strings.TrimSuffix(flat.String(), "}")),
		}
		others := map[string]string{
			"RS256, no keys":     hostile.Sign("x", `{"alg":"RS256"}`, text),
			"ES256, no keys":     hostile.Sign("x", `{"alg":"ES256","kid":"e"}`, text),
			"none":               hostile.Sign("x", `{"alg":"none"}`, text),
			"HS512":              hostile.Sign("x", `{"alg":"HS512"}`, text),
			"no algorithm":       hostile.Sign("x", `{}`, text),
			"a critical member":  hostile.Sign(testSecret, `{"alg":"HS256","crit":["x"]}`, text),
			"a header of claims": hostile.Sign("x", `{"alg":"RS256","x":`+text+`}`, "{}"),
			"two parts":          cut(hostile.Sign("x", `{"alg":"RS256"}`, text)),
			"claims of dots":     strings.Repeat(".", len(text)*4/3),
			"no dots":            strings.Repeat("e", len(text)*4/3),
		}
		for name, header := range map[string]string{"objects": nested(1400), "lists": strings.Repeat("[", 700) + strings.Repeat("]", 700)} {
			others["a header of "+name] = hostile.Sign("x", `{"alg":"RS256","x":`+header+`}`, text)
			hs256["a header of "+name] = hostile.Sign("x", `{"alg":"HS256","x":`+header+`}`, text)
		}
		t.Run(size.name, func(t *testing.T) {
			secretsOnly := behind(newAuth(t, nil))
			_, withKey := withKeys(t, setOf(t, ec))
			t.Log("accepted:", accepted)
			for name, token := range hs256 {
				got := costOf(t, secretsOnly, token, fiber.StatusUnauthorized)
				assert.True(t, got.within(accepted, 1), "HS256, %s: %s, accepted %s", name, got, accepted)
			}
			for name, token := range signed {
				got := costOf(t, secretsOnly, token, fiber.StatusUnauthorized)
				bound := cost{accepted.bytes + 128, accepted.allocs + 8}
				assert.True(t, got.within(bound, 1), "signed, %s: %s, accepted %s", name, got, accepted)
			}
			for name, token := range others {
				got := costOf(t, secretsOnly, token, fiber.StatusUnauthorized)
				assert.True(t, got.within(accepted, 2), "%s: %s, accepted %s", name, got, accepted)
			}
			unknown := costOf(t, withKey, ec.Sign(`{"alg":"ES256","kid":"unknown"}`, text), fiber.StatusUnauthorized)
			assert.True(t, unknown.within(accepted, 2), "an unknown kid: %s, accepted %s", unknown, accepted)
		})
	}
}

// With a public key that a forger can name, claims and header are decoded
// before the signature. What is nested in them must not make that expensive.
func TestNestingIsCheapBeforeAPublicKey(t *testing.T) {
	ec := hostile.NewSigner("ES256", "e")
	_, handler := withKeys(t, setOf(t, ec))
	forged := func(header, claims string) cost {
		return costOf(t, handler, cut(ec.Sign(header, claims))+strings.Repeat("A", 86), fiber.StatusUnauthorized)
	}
	good := hostile.GoodClaims(epoch)
	for _, size := range []int{1 << 10, 9 << 10} {
		flat := forged(`{"alg":"ES256","kid":"e"}`, good.Add(`"x":"`+strings.Repeat("x", size)+`"`).String())
		flat.bytes, flat.allocs = flat.bytes+1024, flat.allocs+8
		for name, value := range map[string]string{
			"objects": nested(size),
			"lists":   strings.Repeat("[", size/2) + strings.Repeat("]", size/2),
			"wide":    "[" + strings.Repeat(`{"a":1},`, size/8) + "{}]",
		} {
			got := forged(`{"alg":"ES256","kid":"e"}`, good.Add(`"x":`+value).String())
			assert.True(t, got.within(flat, 1), "%d bytes of claims, %s: %s, flat %s", size, name, got, flat)
			got = forged(`{"alg":"ES256","kid":"e","x":`+value+`}`, good.String())
			assert.True(t, got.within(flat, 1), "%d bytes of header, %s: %s, flat %s", size, name, got, flat)
		}
	}
}
