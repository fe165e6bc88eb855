package middleware

import (
	"log/slog"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// A key under an id that stays is replaced: the id alone is no proof.
func TestPublicKeyReplacedUnderItsID(t *testing.T) {
	before, after := hostile.NewSigner("ES256", "k"), hostile.NewSigner("ES256", "k")
	auth, handler := withKeys(t, setOf(t, before))
	assert.Equal(t, passed, ask(t, handler, bearer(before.Token(hostile.GoodClaims(epoch))), ""))
	require.NoError(t, auth.SetPublicKeys(setOf(t, after)))
	assert.Equal(t, invalid, ask(t, handler, bearer(before.Token(hostile.GoodClaims(epoch))), ""))
	assert.Equal(t, passed, ask(t, handler, bearer(after.Token(hostile.GoodClaims(epoch))), ""))
}

// A set that is replaced at any step of a verification leaves nothing behind.
func TestPublicKeysReplacedDuringVerification(t *testing.T) {
	before, after := hostile.NewSigner("EdDSA", "before"), hostile.NewSigner("EdDSA", "after")
	for step := 1; step <= 2; step++ {
		var auth *Authenticator
		reads := 0
		set := metrics.NewSet()
		auth = newAuth(t, func(c *AuthConfig) {
			c.PublicKeys, c.Metrics = setOf(t, before), set
			c.Now = func() time.Time {
				if reads++; reads == step {
					require.NoError(t, auth.SetPublicKeys(setOf(t, after)))
				}
				return epoch
			}
		})
		handler := chainOf(slog.New(slog.DiscardHandler), auth.Handler())
		token := bearer(before.Token(hostile.GoodClaims(epoch)))
		ask(t, handler, token, "") // may go either way
		require.GreaterOrEqual(t, reads, step)
		assert.Zero(t, remembered(t, set), "step %d", step)
		assert.Equal(t, invalid, ask(t, handler, token, ""), "step %d", step)
	}
}
