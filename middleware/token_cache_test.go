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
