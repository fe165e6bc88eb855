package middleware

import (
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

var (
	oldSecret = [][]byte{[]byte("the old secret, at least 32 bytes of it")}
	newSecret = [][]byte{[]byte("the new secret, at least 32 bytes of it")}
)

func signedWith(secrets [][]byte) string {
	return hostile.Sign(string(secrets[0]), hostile.DefaultHeader, hostile.GoodClaims(epoch).String())
}

// A rotation at any step of a verification leaves nothing behind that the new
// keys did not verify. The authenticator reads the clock before the cache and
// before it remembers a token: those are the steps.
func TestRotationDuringVerification(t *testing.T) {
	before, after := hostile.NewSigner("EdDSA", "before"), hostile.NewSigner("EdDSA", "after")
	for name, c := range map[string]struct {
		token  string
		rotate func(*Authenticator) error
	}{
		"secret":     {signedWith(oldSecret), func(a *Authenticator) error { return a.SetSecrets(newSecret) }},
		"public key": {before.Token(hostile.GoodClaims(epoch)), func(a *Authenticator) error { return a.SetPublicKeys(setOf(t, after)) }},
	} {
		for step := 1; step <= 2; step++ {
			var auth *Authenticator
			reads := -10 // the first use leaves a mark
			set := metrics.NewSet()
			auth = newAuth(t, func(config *AuthConfig) {
				config.Secrets, config.PublicKeys, config.Metrics = oldSecret, setOf(t, before), set
				config.Now = func() time.Time {
					if reads++; reads == step {
						require.NoError(t, c.rotate(auth))
					}
					return epoch
				}
			})
			handler := behind(auth)
			require.Equal(t, passed, ask(t, handler, bearer(c.token), ""))
			reads = 0
			ask(t, handler, bearer(c.token), "") // may go either way
			require.GreaterOrEqual(t, reads, step)
			assert.Zero(t, remembered(set), "%s, step %d", name, step)
			assert.Equal(t, invalid, ask(t, handler, bearer(c.token), ""), "%s, step %d", name, step)
		}
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
