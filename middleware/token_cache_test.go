package middleware

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// A token is valid from nbf until exp and not a moment more, seen for the first
// time as remembered, when the clock steps back too. Leeway moves both.
func TestDatesAreExact(t *testing.T) {
	const short = time.Millisecond
	for leeway, steps := range map[time.Duration][]struct {
		after time.Duration
		want  string
	}{
		0: {
			{20*time.Second - short, invalid}, {20 * time.Second, passed}, {40*time.Second - short, passed}, {40 * time.Second, expired},
			{39 * time.Second, passed}, {20*time.Second - short, invalid}, {time.Hour, expired},
		},
		10 * time.Second: {
			{10*time.Second - short, invalid}, {10 * time.Second, passed}, {50*time.Second - short, passed}, {50 * time.Second, expired},
			{49 * time.Second, passed}, {9 * time.Second, invalid}, {time.Hour, expired},
		},
	} {
		now := epoch
		handler := behind(newAuth(t, func(c *AuthConfig) {
			c.Leeway = leeway
			c.Now = func() time.Time { return now }
		}))
		token := bearer(signed(hostile.GoodClaims(epoch).Set("exp", "1800000040").Add(`"nbf":1800000020`)))
		for _, c := range steps {
			now = epoch.Add(c.after)
			assert.Equal(t, c.want, ask(t, handler, token, ""), "leeway %s, %s", leeway, c.after)
		}
	}
}

// Tokens that differ in one bit of anything never share an entry.
func TestTokensNeverShare(t *testing.T) {
	set := metrics.NewSet()
	auth := newAuth(t, func(c *AuthConfig) { c.Metrics = set })
	handler := behind(auth, identify)
	const tokens = 300
	token := make([]string, tokens)
	for i := range token {
		subject := fmt.Sprintf(`"caller-%d"`, i)
		token[i] = signed(hostile.GoodClaims(epoch).Set("sub", subject))
	}
	for i := range token {
		for range 3 {
			_, body, _ := strings.Cut(ask(t, handler, bearer(token[i]), ""), "\n\n")
			require.Equal(t, fmt.Sprintf("caller-%d|vm:read|vm:write", i), body)
		}
	}
	assert.Equal(t, tokens, remembered(set))

	// All but the signature is that of a remembered token.
	forged := []byte(token[0])
	for i := strings.LastIndexByte(token[0], '.') + 1; i < len(forged); i++ {
		was := forged[i]
		if forged[i] = 'A'; was == 'A' {
			forged[i] = 'B'
		}
		require.Equal(t, invalid, ask(t, handler, bearer(string(forged)), ""), "character %d", i)
		forged[i] = was
	}

	// The signature is that of a remembered token, all else another's.
	at := func(i int) int { return strings.LastIndexByte(token[i], '.') }
	for i := range tokens - 1 {
		stolen := token[i][:at(i)] + token[i+1][at(i+1):]
		require.Equal(t, invalid, ask(t, handler, bearer(stolen), ""), "claims %d", i)
	}
}

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
