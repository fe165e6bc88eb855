package middleware

import (
	"fmt"
	"strconv"
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
func TestLimit(t *testing.T) {
	const limit = 3
	entered, leave := make(chan struct{}), make(chan struct{})
	places := NewLimit(limit)
	handler := chainOf(silent, newAuth(t, nil).Handler(), places.Handler(false), func(c *fiber.Ctx) error {
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
			group.Go(func() { ask(t, handler, bearer(goodToken())+headers, "") })
			select {
			case <-entered:
			case <-time.After(10 * time.Second):
				t.Fatal("there is room, and it does not get in")
			}
		}
		for range 2 {
			assert.Equal(t, busy, ask(t, handler, bearer(goodToken()), ""))
		}
		for range limit {
			leave <- struct{}{}
		}
		group.Wait()
		assert.Empty(t, places.by)
	}
}

// Whatever was taken and given back before: a subject alone gets three quarters
// of the places, each other one an eighth until seven eighths are taken, and
// urgent writes the rest.
func TestLimitShares(t *testing.T) {
	for _, c := range []struct{ places, alone, other, starts, all int }{
		{1, 1, 0, 1, 1}, {2, 2, 0, 2, 2}, {4, 3, 1, 4, 4}, {8, 6, 1, 7, 8}, {64, 48, 8, 56, 64}, {100, 75, 12, 88, 100}, {4096, 3072, 512, 3584, 4096},
	} {
		l := NewLimit(c.places)
		var gives []func()
		fill := func(subject string, urgent bool) (taken int) {
			for give := l.Take(subject, urgent); give != nil; give = l.Take(subject, urgent) {
				gives = append(gives, give)
				taken++
			}
			return taken
		}
		assert.Equal(t, c.alone, fill("a", false), "%+v", c)
		assert.Equal(t, c.other, fill("b", false), "%+v", c)
		for i := range 8 {
			fill(strconv.Itoa(i), false)
		}
		assert.Equal(t, c.starts, l.taken, "%+v", c)
		fill("a", true)
		fill("b", true)
		assert.Equal(t, c.all, l.taken, "%+v", c)
		for _, give := range gives {
			give()
			give() // does no more
		}
		assert.Zero(t, l.taken)
		assert.Empty(t, l.by)
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
