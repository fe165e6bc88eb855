package middleware

import (
	"bytes"
	"log/slog"
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
