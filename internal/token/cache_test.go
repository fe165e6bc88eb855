package token

import (
	"fmt"
	"math/bits"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// remember verifies a token twice, which makes v remember it.
func remember(t *testing.T, v *Verifier, token string, now time.Time) {
	t.Helper()
	for range 2 {
		_, err := verifyAt(v, token, now)
		require.NoError(t, err)
	}
}

// size is how many entries the cache of v has, expired ones included.
func size(v *Verifier) int { return v.ring.Load().verified.entries.EstimatedSize() }

func TestSignatureIsCheckedAgain(t *testing.T) {
	const key = "header.claims.signature"
	cache := newCache(8)
	id := &Identity{Subject: "caller", validity: validity{ExpiresAt: unixSeconds(epoch) + 3600}}
	cache.put(key, id, epoch)
	assert.Nil(t, cache.get(key, epoch), "remembered after one use")
	cache.put(key, id, epoch)
	assert.Same(t, id, cache.get(key, epoch))
	assert.Same(t, id, cache.get(key, epoch.Add(rememberFor-1)))
	assert.Nil(t, cache.get(key, epoch.Add(rememberFor)))
	for _, other := range []string{
		"", ".", "token", "signature", ".signature", "header.claims", "header.claims.", "header.claims.signature2",
		"header.claim.signature", "header.claims2.signature", "header.claims.2.signature", "header.claims.signature.",
	} {
		assert.Nil(t, cache.get(other, epoch), other)
	}
}

// A token leaves memory within a minute of its exp, or of a minute after it
// was verified, although it is not used again; and the timer goes with the last.
func TestExpiredTokensLeaveMemory(t *testing.T) {
	for _, c := range []struct{ lifetime, gone time.Duration }{
		{time.Second, time.Minute + time.Second},
		{31 * time.Second, time.Minute + 31*time.Second},
		{59*time.Second + 900*time.Millisecond, 2 * time.Minute},
		{time.Hour, 2 * time.Minute},
		{10000 * time.Hour, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, func(c *Config) { c.Leeway = time.Minute })
			exp := fmt.Sprintf("%f", unixSeconds(time.Now().Add(c.lifetime)))
			token := signed(hostile.GoodClaims(time.Now()).Set("exp", exp))
			remember(t, v, token, time.Now())
			id, err := v.Recall(token, time.Now())
			require.NoError(t, err)
			held := weak.Make(id)
			id = nil
			require.Equal(t, 1, size(v))

			time.Sleep(c.gone)
			synctest.Wait()
			assert.Zero(t, size(v), c.lifetime)
			runtime.GC()
			assert.Nil(t, held.Value(), "%s: it is out of the cache, and still held", c.lifetime)
			time.Sleep(sweepEvery)
			synctest.Wait()
			assert.False(t, v.ring.Load().verified.sweeping.Load(), "a timer is left")
		})
	}
}

// Neither what is refused nor what is about to be is remembered.
func TestRefusalsAreNotRemembered(t *testing.T) {
	v := newVerifier(t, func(c *Config) { c.Leeway = time.Minute })
	good := hostile.GoodClaims(epoch)
	for _, c := range []struct {
		claims hostile.Claims
		want   int
	}{
		{good.Set("exp", "1700000000"), 0},
		{good.Set("exp", "1799999999"), 0}, // accepted, by leeway
		{good.Add(`"nbf":1900000000`), 0},
		{good.Set("aud", `"other"`), 0},
		{good.Set("exp", "1800000001"), 1},
	} {
		for range 3 {
			_, _ = verify(v, signed(c.claims))
		}
		assert.Equal(t, c.want, size(v), "%s", c.claims)
	}
}

func TestABoundBelowOneIsTheDefault(t *testing.T) {
	for _, bound := range []int{-1, 0} {
		v := newVerifier(t, func(c *Config) { c.CacheSize = bound })
		assert.EqualValues(t, defaultCacheSize, v.ring.Load().verified.entries.GetMaximum(), bound)
	}
}

// Neither valid nor invalid tokens grow the cache past its bound, and large
// tokens take the room of several.
func TestFloodLeavesTheCacheBounded(t *testing.T) {
	const bound = 64
	// What was put waits in otter's buffer until others are evicted for it, and as
	// much may be put meanwhile.
	buffer := 128 << bits.Len(uint(runtime.NumCPU()-1))
	v := newVerifier(t, func(c *Config) { c.CacheSize = bound })
	settled := func() int {
		v.ring.Load().verified.entries.CleanUp()
		return size(v)
	}
	flood := func(n, times int, secret, padding string, accepted bool) {
		for i := range n {
			claims := hostile.GoodClaims(epoch).Set("scope", `"vm:read`+padding+`"`).Add(fmt.Sprintf(`"jti":"%d"`, i))
			token := hostile.Sign(secret, hostile.DefaultHeader, claims.String())
			for range times {
				_, err := verify(v, token)
				require.Equal(t, accepted, err == nil)
			}
			// The bound holds while the flood lasts, but for what waits to be
			// evicted.
			require.LessOrEqual(t, size(v), bound+2*buffer+1)
		}
	}
	flood(500, 2, "another secret", "", false)
	assert.Zero(t, settled())
	flood(500, 1, testSecret, " once", true)
	assert.Zero(t, settled(), "tokens that come once")
	flood(2000, 2, testSecret, "", true)
	assert.Positive(t, settled())
	assert.LessOrEqual(t, settled(), bound)
	require.NoError(t, v.SetSecrets([][]byte{[]byte(testSecret)})) // and an empty cache
	flood(300, 2, testSecret, strings.Repeat(" x", 2800), true)
	assert.Equal(t, 1, settled(), "of tokens with 52 KB of text and scopes")
}

// A cache that was replaced goes away with all it held, and leaves no
// goroutine behind.
func TestReplacedCachesAreFreed(t *testing.T) {
	v := newVerifier(t, nil)
	remember(t, v, signed(hostile.GoodClaims(epoch)), epoch)
	before := runtime.NumGoroutine()
	for range 200 {
		require.NoError(t, v.SetSecrets([][]byte{[]byte(testSecret)}))
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before+2)
}
