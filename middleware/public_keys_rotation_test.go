package middleware

import (
	"log/slog"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/jwks"
	"github.com/busdk/bus-api-provider-vm/internal/token"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// An issuer rolls its key with an overlap: nobody is refused while both stand,
// and the removed key's tokens are refused at once, remembered or not.
func TestPublicKeysRollOver(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		before, after := hostile.NewSigner(algorithm, "before"), hostile.NewSigner(algorithm, "after")
		auth, handler := withKeys(t, setOf(t, before))
		tokens := []string{before.Token(hostile.GoodClaims(epoch)), after.Token(hostile.GoodClaims(epoch)), goodToken()}
		expect := func(want ...string) {
			t.Helper()
			for range 2 {
				for i, token := range tokens {
					assert.Equal(t, want[i], ask(t, handler, bearer(token), ""), "%s: token %d", algorithm, i)
				}
			}
		}
		expect(passed, invalid, passed)
		require.NoError(t, auth.SetPublicKeys(setOf(t, before, after)))
		expect(passed, passed, passed)
		require.NoError(t, auth.SetPublicKeys(setOf(t, after)))
		expect(invalid, passed, passed)

		require.NoError(t, auth.SetSecrets(nil))
		expect(invalid, passed, invalid)
		require.NoError(t, auth.SetSecrets(newSecret))
		expect(invalid, passed, invalid)
		require.NoError(t, auth.SetPublicKeys(nil))
		expect(invalid, invalid, invalid)
		assert.ErrorIs(t, auth.SetSecrets(nil), token.ErrNoKeys)
		assert.Equal(t, passed, ask(t, handler, bearer(signedWith(newSecret)), ""), "the last secrets stand")
	}
}

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

// Only a well-formed token with a key that is not there asks for other keys.
func TestUnknownKeys(t *testing.T) {
	i := newIssuer()
	asked := 0
	auth := newAuth(t, func(c *AuthConfig) {
		c.PublicKeys = setOf(t, i.ec)
		c.UnknownKey = func() { asked++ }
	})
	handler := chainOf(slog.New(slog.DiscardHandler), auth.Handler())
	claims := hostile.GoodClaims(epoch)
	for _, tc := range []struct {
		token string
		want  int
	}{
		{i.ec.Token(claims), 0},
		{goodToken(), 0},
		{cut(i.ec.Token(claims)) + "AAAA", 0},
		{i.rsa.Sign(`{"alg":"RS512","kid":"new"}`, claims.String()), 0},
		{i.rsa.Sign(`{"alg":"RS256","kid":"new","crit":["x"]}`, claims.String()), 0},
		{i.rsa.Sign(`{"alg":"RS256","kid":1}`, claims.String()), 0},
		{i.ec.Sign(`{"alg":"ES256","kid":"new"}`, claims.String()), 1},
		{i.ed.Token(claims), 2},
		{i.rsa.Sign(`{"alg":"RS256"}`, claims.String()), 3},
	} {
		ask(t, handler, bearer(tc.token), "")
		assert.Equal(t, tc.want, asked, tc.token)
	}
	none := newAuth(t, func(c *AuthConfig) { c.PublicKeys = &jwks.Set{} })
	assert.Equal(t, invalid, ask(t, chainOf(slog.New(slog.DiscardHandler), none.Handler()), bearer(i.ed.Token(claims)), ""))
}
