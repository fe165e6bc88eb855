package middleware

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// The signature is looked at before the claims, whatever the header of a
// forgery, and whether a good token was seen or not.
func TestForgeriesAreNotDecoded(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	auth := newAuth(t, func(c *AuthConfig) { c.Logger = logger })
	handler := chainOf(logger, auth.Handler())
	for range 2 {
		for _, header := range []string{hostile.DefaultHeader, `{"alg":"HS256","x":1}`, `{"alg":"HS256","kid":"7"}`} {
			log.Reset()
			token := hostile.Sign("not the secret of this service...", header, "no claims at all")
			require.Equal(t, invalid, ask(t, handler, bearer(token), ""))
			assert.Contains(t, log.String(), jwt.ErrTokenSignatureInvalid.Error())
		}
		require.Equal(t, passed, ask(t, handler, bearer(goodToken()), ""))
	}
}

// Whoever is let in with the signature checked first is let in without, and the
// other way round.
func TestCheckSignatureChangesNoAnswer(t *testing.T) {
	secrets := []string{"the first secret of thirty-two bytes", testSecret, "the third secret of thirty-two bytes"}
	withKeys := func(c *AuthConfig) {
		c.Secrets = nil
		for _, s := range secrets {
			c.Secrets = append(c.Secrets, []byte(s))
		}
	}
	first, plain := newAuth(t, withKeys), newAuth(t, withKeys)
	plain.ring.Load().signers = nil
	a, b := chainOf(slog.New(slog.DiscardHandler), first.Handler()), chainOf(slog.New(slog.DiscardHandler), plain.Handler())
	headers := []string{hostile.DefaultHeader, `{"alg":"HS256"}`, `{"alg":"HS256","kid":"7"}`}
	chance := rand.New(rand.NewPCG(1, 2))
	let := 0
	for i := range 3000 {
		claims := hostile.GoodClaims(epoch).Add(fmt.Sprintf(`"jti":"%d"`, i))
		token := hostile.Sign(secrets[chance.IntN(len(secrets))], headers[chance.IntN(len(headers))], claims.String())
		switch at := chance.IntN(len(token)); chance.IntN(4) {
		case 0:
			token = token[:at] + string(`.A-_=+/z`[chance.IntN(8)]) + token[at+1:]
		case 1:
			token = token[:at+1]
		}
		want := ask(t, b, bearer(token), "")
		require.Equal(t, want, ask(t, a, bearer(token), ""), token)
		if want == passed {
			let++
		}
	}
	assert.Greater(t, let, 1000)
}
