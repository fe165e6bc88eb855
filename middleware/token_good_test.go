package middleware

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// identify answers with who was authenticated.
func identify(c *fiber.Ctx) error {
	id := CallerIdentity(c)
	return c.SendString(id.Subject + "|" + strings.Join(id.Scopes, "|"))
}

func TestGoodTokens(t *testing.T) {
	const subject = "9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e"
	const both = subject + "|vm:read|vm:write"
	good := hostile.GoodClaims(epoch)
	for _, c := range []struct{ name, header, claims, want string }{
		{"ordinary", hostile.DefaultHeader, good.String(), both},
		{"no typ", `{"alg":"HS256"}`, good.String(), both},
		{"white space in the header", " {\n\"alg\" : \"HS256\" }\t", good.String(), both},
		{"white space in the claims", hostile.DefaultHeader, "\r\n" + strings.ReplaceAll(good.String(), ",", " ,\t"), both},
		{"escaped alg", `{"\u0061lg":"HS\u003256"}`, good.String(), both},
		{"unknown header members", `{"alg":"HS256","x":[1,{"y":null}],"kid":"7","Alg":"none"}`, good.String(), both},
		{"unknown claims", hostile.DefaultHeader, good.Add(`"x":{"aud":"other","exp":0}`, `"jti":1`, `"":null`).String(), both},
		{"other cases beside", hostile.DefaultHeader, good.Add(`"AUD":"other"`, `"Exp":1`, `"SUB":7`, `"Scope":[]`).String(), both},
		{"aud in a list", hostile.DefaultHeader, good.Set("aud", `["ai.hg.fi/api"]`).String(), both},
		{"aud among others", hostile.DefaultHeader, good.Set("aud", `["x","ai.hg.fi/api","","x"]`).String(), both},
		{"aud escaped", hostile.DefaultHeader, good.Set("aud", `"ai.hg.fi\/\u0061pi"`).String(), both},
		{"exp in half a second", hostile.DefaultHeader, good.Set("exp", "1800000000.5").String(), both},
		{"exp with an exponent", hostile.DefaultHeader, good.Set("exp", "1.8000001e9").String(), both},
		{"exp at the end of time", hostile.DefaultHeader, good.Set("exp", "253402300799").String(), both},
		{"nbf now", hostile.DefaultHeader, good.Add(`"nbf":1800000000`).String(), both},
		{"nbf half a second ago", hostile.DefaultHeader, good.Add(`"nbf":1799999999.5`).String(), both},
		{"nbf zero", hostile.DefaultHeader, good.Add(`"nbf":0`).String(), both},
		{"nbf before 1970", hostile.DefaultHeader, good.Add(`"nbf":-1`).String(), both},
		{"no iat", hostile.DefaultHeader, good.Without("iat").String(), both},
		{"iat in the future", hostile.DefaultHeader, good.Set("iat", "1900000000").String(), both},
		{"no scope", hostile.DefaultHeader, good.Without("scope").String(), subject + "|"},
		{"subject of any text", hostile.DefaultHeader, good.Set("sub", `"ää\u0001 x"`).String(), "ää\x01 x|vm:read|vm:write"},
		{"large", hostile.DefaultHeader, good.Add(`"x":"` + strings.Repeat("x", 5<<10) + `"`).String(), both},
	} {
		t.Run(c.name, func(t *testing.T) {
			handler := behind(newAuth(t, nil), identify)
			token := hostile.Sign(testSecret, c.header, c.claims)
			for _, when := range []string{"first", "remembered"} {
				_, body, _ := strings.Cut(ask(t, handler, bearer(token), ""), "\n\n")
				assert.Equal(t, c.want, body, when)
			}
		})
	}
}

// A token names one of the audiences exactly; the platform's counts only where
// it is one of them.
func TestOtherAudiences(t *testing.T) {
	auth := newAuth(t, func(c *AuthConfig) { c.Audiences = []string{"example.org/x", "example.org/y"} })
	handler := behind(auth)
	for audience, want := range map[string]string{
		`"example.org/x"`: passed, `"example.org/y"`: passed, `["other","example.org/y"]`: passed,
		`"example.org/X"`: invalid, `"example.org"`: invalid, `"example.org/x example.org/y"`: invalid, `"ai.hg.fi/api"`: invalid,
	} {
		token := signed(hostile.GoodClaims(epoch).Set("aud", audience))
		assert.Equal(t, want, ask(t, handler, bearer(token), ""), audience)
	}
}

// A header that points somewhere is not followed.
func TestNothingIsFetched(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	called := make(chan struct{})
	go func() {
		defer close(called)
		if c, err := listener.Accept(); err == nil {
			_ = c.Close()
			t.Error("somebody called")
		}
	}()
	url := `"http://` + listener.Addr().String() + `/keys"`
	header := `{"alg":"HS256","jku":` + url + `,"x5u":` + url + `,"kid":` + url + `}`
	handler := behind(newAuth(t, nil))
	claims := hostile.GoodClaims(epoch).Add(`"iss":` + url).String()
	assert.Equal(t, passed, ask(t, handler, bearer(hostile.Sign(testSecret, header, claims)), ""))
	assert.Equal(t, invalid, ask(t, handler, bearer(hostile.Sign("own", header, claims)), ""))
	require.NoError(t, listener.Close())
	<-called
}

// The clock is the arrival of the request unless another is given.
func TestDefaultClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := newAuth(t, func(c *AuthConfig) { c.Now = nil })
		handler := behind(auth)
		claims := hostile.GoodClaims(time.Now()).Set("exp", fmt.Sprint(time.Now().Unix()+10))
		token := signed(claims)
		at := func() string {
			var ctx fasthttp.RequestCtx
			ctx.Init(&request(t, "GET / HTTP/1.1\r\nHost: x\r\n"+bearer(token)+"\r\n").Request, nil, nil)
			handler(&ctx)
			return wire.Anonymous(ctx.Response.String())
		}
		assert.Equal(t, passed, at())
		<-time.After(10*time.Second - time.Millisecond)
		assert.Equal(t, passed, at())
		<-time.After(time.Millisecond)
		assert.Equal(t, expired, at())
	})
}
