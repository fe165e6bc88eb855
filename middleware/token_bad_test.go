package middleware

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Where a token stands, and how it is spelled there.
func TestTokenPlaces(t *testing.T) {
	good := goodToken()
	auth := newAuth(t, nil)
	handler := chainOf(slog.New(slog.DiscardHandler), auth.Handler())
	for _, c := range []struct{ name, headers, want string }{
		{"no header", "", missing},
		{"empty header", "Authorization:\r\n", missing},
		{"white space", "Authorization:  \t \r\n", missing},
		{"scheme only", "Authorization: Bearer\r\n", missing},
		{"scheme and a space", "Authorization: Bearer \r\n", missing},
		{"token only", "Authorization: " + good + "\r\n", missing},
		{"Basic", "Authorization: Basic dXNlcjpwYXNz\r\n", missing},
		{"token under Basic", "Authorization: Basic " + good + "\r\n", missing},
		{"token under Token", "Authorization: Token " + good + "\r\n", missing},
		{"no space behind the scheme", "Authorization: Bearer" + good + "\r\n", missing},
		{"tab behind the scheme", "Authorization: Bearer\t" + good + "\r\n", missing},
		{"colon behind the scheme", "Authorization: Bearer: " + good + "\r\n", missing},
		{"comma behind the scheme", "Authorization: Bearer," + good + "\r\n", missing},
		{"no-break space behind the scheme", "Authorization: Bearer\u00a0" + good + "\r\n", missing},
		{"scheme twice", "Authorization: Bearer Bearer " + good + "\r\n", invalid},
		{"space and tab before the token", "Authorization: Bearer \t" + good + "\r\n", invalid},
		{"no-break space before the token", "Authorization: Bearer \u00a0" + good + "\r\n", invalid},
		{"next line before the token", "Authorization: Bearer \u0085" + good + "\r\n", invalid},
		{"no-break space behind the token", "Authorization: Bearer " + good + "\u00a0\r\n", invalid},
		{"ideographic space behind the token", "Authorization: Bearer " + good + "\u3000\r\n", invalid},
		{"a parameter behind the token", "Authorization: Bearer " + good + " x=1\r\n", invalid},
		{"two tokens", "Authorization: Bearer " + good + " " + good + "\r\n", invalid},
		{"two tokens and a comma", "Authorization: Bearer " + good + ", Bearer " + good + "\r\n", invalid},
		{"space within", "Authorization: Bearer " + strings.Replace(good, ".", " .", 1) + "\r\n", invalid},
		{"two headers", bearer(good) + bearer(good), ambiguous},
		{"two headers, the first bad", bearer("x") + bearer(good), ambiguous},
		{"two headers, the second bad", bearer(good) + "authorization: x\r\n", ambiguous},
		{"two headers, one empty", bearer(good) + "AUTHORIZATION:\r\n", ambiguous},
		{"cookie", "Cookie: Authorization=Bearer " + good + "; access_token=" + good + "\r\n", missing},
		{"proxy header", "Proxy-Authorization: Bearer " + good + "\r\n", missing},
		{"another header", "X-Authorization: Bearer " + good + "\r\n", missing},
		{"underscore for a dash", "X_Authorization: Bearer " + good + "\r\n", missing},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, ask(t, handler, c.headers, ""))
		})
	}
	t.Run("query", func(t *testing.T) {
		ctx := request(t, "POST /?access_token="+good+"&token="+good+" HTTP/1.1\r\nHost: x\r\n\r\n")
		handler(ctx)
		assert.Equal(t, missing, anonymous(ctx.Response.String()))
	})
	t.Run("form body", func(t *testing.T) {
		headers := "Content-Type: application/x-www-form-urlencoded\r\n"
		assert.Equal(t, missing, ask(t, handler, headers, "access_token="+good))
	})
	for _, header := range []string{
		"Authorization: bearer " + good, "Authorization: BEARER " + good, "authorization: bEaReR " + good,
		"Authorization: Bearer    " + good, "Authorization:Bearer " + good, "Authorization: \t Bearer " + good + " \t ",
	} {
		t.Run("good: "+strings.Replace(header, good, "…", 1), func(t *testing.T) {
			assert.Equal(t, passed, ask(t, handler, header+"\r\n", ""), "first")
			assert.Equal(t, passed, ask(t, handler, header+"\r\n", ""), "remembered")
		})
	}
}
