package middleware_test

import (
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/valyala/fasthttp"

	"github.com/busdk/bus-api-provider-vm/middleware"
)

// with gives a request with header fields of one name to do.
func with(name string, fields []string, do func(*fiber.Ctx)) {
	app := fiber.New()
	var raw fasthttp.RequestCtx
	for _, field := range fields {
		raw.Request.Header.Add(name, field)
	}
	c := app.AcquireCtx(&raw)
	defer app.ReleaseCtx(c)
	do(c)
}

func TestPreferWait(t *testing.T) {
	const none = -1
	for want, tables := range map[int][][]string{
		none: {
			nil, {""}, {"wait"}, {"wait="}, {"wait=-1"}, {"wait=+1"}, {"wait=1.5"}, {"wait=1s"}, {"wait=1 2"}, {"wait==5"},
			{"respond-async"}, {"waits=5"}, {`x="wait=5"`}, {`x="a,wait=5"`}, {`x="a\",wait=5"`}, {"x;wait=5"},
			{"wait=x, wait=5"}, {"wait", "wait=5"}, {`wait="`}, {`wait=""`}, {`wait="5`},
		},
		0: {{"wait=0"}, {"wait=00, wait=5"}},
		5: {
			{"wait=5"}, {"WAIT=5"}, {" wait = 5 "}, {"\twait=5"}, {"wait=05"}, {`wait="5"`}, {"wait=5;x=1"}, {"wait=5 ; x"},
			{"wait=5, wait=7"}, {"wait=5", "wait=7"}, {"respond-async, wait=5"}, {"respond-async", "wait=5"},
			{",, wait=5"}, {`x="a,b", wait=5`}, {`x="\\", wait=5`}, {`x="\"", wait=5`},
		},
		1<<31 - 1: {{"wait=2147483648"}, {"wait=99999999999999999999999"}},
	} {
		for _, fields := range tables {
			with("Prefer", fields, func(c *fiber.Ctx) {
				seconds, ok := middleware.PreferWait(c)
				assert.Equal(t, want != none, ok, "%q", fields)
				assert.Equal(t, max(want, 0), seconds, "%q", fields)
			})
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, c := range []struct {
		fields []string
		want   string
		ok     bool
	}{
		{nil, "", true},
		{[]string{"abc"}, "abc", true},
		{[]string{`"abc"`}, "abc", true},
		{[]string{`a"b`}, `a"b`, true},
		{[]string{`"a\"b\\c"`}, `a"b\c`, true},
		{[]string{"a b"}, "a b", true},
		{[]string{`" "`}, " ", true},
		{[]string{long}, long, true},
		{[]string{`"` + long + `"`}, long, true},
		{[]string{""}, "", false},
		{[]string{`""`}, "", false},
		{[]string{`"`}, "", false},
		{[]string{`"abc`}, "", false},
		{[]string{`"a"b"`}, "", false},
		{[]string{`"a\b"`}, "", false},
		{[]string{`"abc";x`}, "", false},
		{[]string{long + "x"}, "", false},
		{[]string{"a\x7f"}, "", false},
		{[]string{"a\tb"}, "", false},
		{[]string{"ä"}, "", false},
		{[]string{"abc", "abc"}, "", false},
	} {
		with("Idempotency-Key", c.fields, func(ctx *fiber.Ctx) {
			key, err := middleware.IdempotencyKey(ctx)
			assert.Equal(t, c.want, key, "%q", c.fields)
			assert.Equal(t, c.ok, err == nil, "%q", c.fields)
		})
	}
}
