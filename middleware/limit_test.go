package middleware

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/valyala/fasthttp"
)

var busy = refused("503 Service Unavailable", "Retry-After: 1\n", "backend_unavailable", "Too many operations are under way.")

// Up to the limit requests pass at once, one more is refused with Retry-After,
// and a request makes room however it ends.
func TestLimitWrites(t *testing.T) {
	const limit = 3
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := chainOf(silent, LimitWrites(limit), func(c *fiber.Ctx) error {
		entered <- struct{}{}
		<-leave
		if c.Get("X-Panic") != "" {
			panic("x")
		}
		return c.Next()
	})
	for _, headers := range []string{"", "X-Panic: 1\r\n", ""} {
		var group sync.WaitGroup
		for range limit {
			group.Go(func() { ask(t, handler, headers, "") })
			select {
			case <-entered:
			case <-time.After(10 * time.Second):
				t.Fatal("there is room, and it does not get in")
			}
		}
		for range 2 {
			assert.Equal(t, busy, ask(t, handler, "", ""))
		}
		for range limit {
			leave <- struct{}{}
		}
		group.Wait()
	}
}

// Each subject has its own pace: a burst of one second's worth, then one for
// each fraction of a second; Retry-After says when, in whole seconds.
func TestLimitSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := behind(newAuth(t, nil), LimitSubject(2))
		tooMany := refused("429 Too Many Requests", "Retry-After: 1\n", "too_many_requests", "This account acts too often.")
		a, b := bearer(tokenWith("sub", `"a"`)), bearer(tokenWith("sub", `"b"`))
		for _, c := range []struct {
			name string
			wait time.Duration
			who  string
			want string
		}{
			{"first", 0, a, passed},
			{"second at once", 0, a, passed},
			{"third at once", 0, a, tooMany},
			{"again", 0, a, tooMany},
			{"another subject", 0, b, passed},
			{"almost", 499 * time.Millisecond, a, tooMany},
			{"refusals cost nothing", time.Millisecond, a, passed},
			{"and again", 0, a, tooMany},
			{"the other still has one", 0, b, passed},
			{"after long", time.Hour, a, passed},
			{"no more than a burst", 0, a, passed},
			{"is saved up", 0, a, tooMany},
		} {
			time.Sleep(c.wait) // of the bubble's clock
			assert.Equal(t, c.want, ask(t, handler, c.who, ""), c.name)
		}
	})
}

// Subjects are compared whole, and the strings of a request that Fiber reuses
// are not kept: a flood of subjects neither crosses nor forgets in turn.
func TestLimitSubjectKeepsSubjectsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose clock stands still
		handler := behind(newAuth(t, nil), LimitSubject(1))
		const subjects = 200
		ctx := new(fasthttp.RequestCtx) // one context for all, as on one connection
		call := func(subject string) int {
			ctx.Request.Reset()
			ctx.Response.Reset()
			ctx.Request.Header.SetMethod("POST")
			ctx.Request.SetRequestURI("/")
			ctx.Request.Header.Set("Authorization", "Bearer "+tokenWith("sub", `"`+subject+`"`))
			handler(ctx)
			return ctx.Response.StatusCode()
		}
		for i := range subjects {
			assert.Equal(t, 200, call(fmt.Sprintf("subject-%03d", i)))
		}
		for i := range 20 {
			assert.Equal(t, 429, call(fmt.Sprintf("subject-%03d", i)))
		}
	})
}
