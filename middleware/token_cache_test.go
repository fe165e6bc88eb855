package middleware

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// A remembered token is refused the moment it expires, is not valid before
// nbf when the clock steps back, and its signature is checked anew after
// rememberFor.
func TestRememberedTokensStillExpire(t *testing.T) {
	now := epoch
	auth := newAuth(t, func(c *AuthConfig) { c.Now = func() time.Time { return now } })
	handler := chainOf(slog.New(slog.DiscardHandler), auth.Handler())
	claims := hostile.GoodClaims(epoch).Set("exp", "1800000030").Add(`"nbf":1800000000`)
	token := hostile.Sign(testSecret, hostile.DefaultHeader, claims.String())
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{0, passed},
		{29*time.Second + 999*time.Millisecond, passed},
		{30 * time.Second, expired},
		{29 * time.Second, passed},
		{-time.Millisecond, invalid},
		{time.Hour, expired},
	} {
		now = epoch.Add(c.after)
		assert.Equal(t, c.want, ask(t, handler, bearer(token), ""), c.after)
	}
}

func TestSignatureIsCheckedAgain(t *testing.T) {
	const key = "header.claims.signature"
	cache, err := newTokenCache(8)
	require.NoError(t, err)
	id := &Identity{Subject: "caller"}
	cache.put(key, id, epoch)
	assert.Nil(t, cache.get([]byte(key), epoch), "remembered after one use")
	cache.put(key, id, epoch)
	assert.Same(t, id, cache.get([]byte(key), epoch))
	assert.Same(t, id, cache.get([]byte(key), epoch.Add(rememberFor)))
	assert.Nil(t, cache.get([]byte(key), epoch.Add(rememberFor+1)))
	for _, other := range []string{
		"", ".", "token", "signature", ".signature", "header.claims", "header.claims.", "header.claims.signature2",
		"header.claim.signature", "header.claims2.signature", "header.claims.2.signature", "header.claims.signature.",
	} {
		assert.Nil(t, cache.get([]byte(other), epoch), other)
	}
}

// Tokens that differ in one bit of anything never share an entry.
func TestTokensNeverShare(t *testing.T) {
	auth := newAuth(t, nil)
	handler := chainOf(slog.New(slog.DiscardHandler), auth.Handler(), identify)
	const tokens = 300
	token := make([]string, tokens)
	for i := range token {
		subject := fmt.Sprintf(`"caller-%d"`, i)
		token[i] = hostile.Sign(testSecret, hostile.DefaultHeader, hostile.GoodClaims(epoch).Set("sub", subject).String())
	}
	for i := range token {
		for range 3 {
			_, body, _ := strings.Cut(ask(t, handler, bearer(token[i]), ""), "\n\n")
			require.Equal(t, fmt.Sprintf("caller-%d|vm:read|vm:write", i), body)
		}
	}
	assert.Equal(t, tokens, auth.ring.Load().verified.entries.EstimatedSize())

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

// Neither valid nor invalid tokens grow the cache past its bound, and large
// tokens take the room of several.
func TestFloodLeavesTheCacheBounded(t *testing.T) {
	const bound = 64
	auth := newAuth(t, func(c *AuthConfig) { c.CacheSize = bound })
	handler := chainOf(slog.New(slog.DiscardHandler), auth.Handler())
	entries := auth.ring.Load().verified.entries
	size := func() int {
		entries.CleanUp()
		return entries.EstimatedSize()
	}
	flood := func(n, times int, secret, padding, want string) {
		for i := range n {
			claims := hostile.GoodClaims(epoch).Set("scope", `"vm:read`+padding+`"`).Add(fmt.Sprintf(`"jti":"%d"`, i))
			token := bearer(hostile.Sign(secret, hostile.DefaultHeader, claims.String()))
			for range times {
				require.Equal(t, want, ask(t, handler, token, ""))
			}
			// The bound holds while the flood lasts, but for what waits to be
			// evicted.
			require.LessOrEqual(t, entries.EstimatedSize(), 8*bound)
		}
	}
	flood(500, 2, "another secret", "", invalid)
	assert.Zero(t, size())
	flood(500, 1, testSecret, " once", passed)
	assert.Zero(t, size(), "tokens that come once")
	flood(2000, 2, testSecret, "", passed)
	assert.Positive(t, size())
	assert.LessOrEqual(t, size(), bound)
	flood(300, 2, testSecret, strings.Repeat(" x", 3000), passed)
	assert.LessOrEqual(t, size(), bound, "and the large ones")
	assert.LessOrEqual(t, entries.WeightedSize(), uint64(bound))
}

// What counts as one token is what it costs in memory, so that the bound on
// tokens is one on bytes.
func TestWeightFollowsMemory(t *testing.T) {
	for _, c := range []struct {
		tokenBytes, scopes int
		want               uint32
	}{
		{300, 2, 1},
		{ordinaryToken - 1, 0, 1},
		{ordinaryToken, 0, 2},
		{16 << 10, 0, 17},
		{16 << 10, 6 << 10, 113},
	} {
		got := weigh(strings.Repeat("x", c.tokenBytes), &Identity{Scopes: make([]string, c.scopes)})
		assert.Equal(t, c.want, got, "%d bytes with %d scopes", c.tokenBytes, c.scopes)
	}
}

// A cache that was replaced goes away with all it held, and leaves no
// goroutine behind.
func TestReplacedCachesAreFreed(t *testing.T) {
	auth := newAuth(t, nil)
	before := runtime.NumGoroutine()
	for range 200 {
		require.NoError(t, auth.SetSecrets([][]byte{[]byte(testSecret)}))
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before+2)
}
