package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// stack is a gateway with all backends in events mode and an admin listener,
// and the platform that it talks to.
type stack struct {
	*gateway
	admin    string
	platform *platform.Platform
}

// serveStack starts one whose every wait is short. Later entries of env win.
func serveStack(t testing.TB, env ...string) *stack {
	t.Helper()
	p, err := platform.Start(platform.Config{Secret: jwtSecret})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	token := p.ProviderToken()
	suite.logged.keepOut(token)
	g, admin := serveAdmin(t, append([]string{
		"BUS_VM_BACKEND=events", "BUS_VM_BILLING_BACKEND=events", "BUS_VM_USAGE_BACKEND=events",
		"BUS_EVENTS_API_URL=" + p.URL(), "BUS_API_TOKEN=" + token, "BUS_VM_DATA_DIR=" + t.TempDir(),
		"BUS_EVENTS_LISTENER_RETRY_MIN=50ms", "BUS_EVENTS_LISTENER_RETRY_MAX=200ms",
		"BUS_VM_TIMEOUT=500ms", "BUS_VM_STATUS_MAX_AGE=500ms", "BUS_VM_STATUS_REFRESH=100ms", "BUS_VM_STATUS_REFRESH_MOVING=100ms",
	}, env...))
	return &stack{g, admin, p}
}

// providerJWT is a token of a provider with a scope and a time to live.
func providerJWT(scope string, ttl time.Duration) string {
	token := platform.Token(jwtSecret, platform.Claims{Scope: scope, TTL: ttl})
	suite.logged.keepOut(token)
	return token
}

// send makes one request whose answer is of no interest.
func (g *gateway) send(raw string) {
	c, err := dialTo(g.addr)
	if err != nil {
		return // it was stopped, or has no room
	}
	defer c.Close()
	_, _ = c.send(raw).reply("POST")
}

func (g *gateway) read()  { g.send(request("GET "+statusPath, mint("vm:read"))) }
func (g *gateway) start() { g.send(request("POST "+startPath, mint("vm:write"))) }

// every calls do again and again, with a pause in between, until ctx ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
