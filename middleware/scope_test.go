package middleware

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

func noScope(scope string) string {
	return refused("403 Forbidden",
		"Www-Authenticate: Bearer realm=\"bus-vm\", error=\"insufficient_scope\", scope=\""+scope+"\"\n",
		"insufficient_access", "The token lacks the scope "+scope+".")
}

// A scope is granted by its exact name between ASCII spaces, by nothing else.
func TestRequireScope(t *testing.T) {
	auth := newAuth(t, nil)
	read := chainOf(slog.New(slog.DiscardHandler), auth.Handler(), RequireScope(ScopeRead))
	write := chainOf(slog.New(slog.DiscardHandler), auth.Handler(), RequireScope(ScopeWrite))
	for _, c := range []struct {
		scope   string // raw JSON; "" leaves the claim out
		toRead  bool
		toWrite bool
	}{
		{scope: ``},
		{scope: `""`},
		{scope: `" "`},
		{scope: `"vm:read"`, toRead: true},
		{scope: `"vm:write"`, toWrite: true},
		{scope: `"vm:read vm:write"`, toRead: true, toWrite: true},
		{scope: `"vm:write vm:read"`, toRead: true, toWrite: true},
		{scope: `"a vm:read b"`, toRead: true},
		{scope: `"  vm:read  "`, toRead: true},
		{scope: `"\u0076m:read"`, toRead: true},
		{scope: `"VM:READ VM:WRITE"`},
		{scope: `"vm:Read"`},
		{scope: `"vm:reads"`},
		{scope: `"xvm:read"`},
		{scope: `"vm:rea"`},
		{scope: `"vm: read"`},
		{scope: `"vm"`},
		{scope: `"vm:*"`},
		{scope: `"*"`},
		{scope: `"vm:read,vm:write"`},
		{scope: `"vm:read+vm:write"`},
		{scope: `"vm:read;vm:write"`},
		{scope: `"vm:read\tvm:write"`},
		{scope: `"vm:read\nvm:write"`},
		{scope: `"vm:read\u00a0vm:write"`},
		{scope: `"vm:read\u2003vm:write"`},
		{scope: `"vm:read\u0000"`},
	} {
		claims := hostile.GoodClaims(epoch).Without("scope")
		if c.scope != "" {
			claims = claims.Add(`"scope":` + c.scope)
		}
		token := bearer(hostile.Sign(testSecret, hostile.DefaultHeader, claims.String()))
		for _, when := range []string{"first", "remembered"} {
			assert.Equal(t, either(c.toRead, passed, noScope("vm:read")), ask(t, read, token, ""), "read with %s, %s", c.scope, when)
			assert.Equal(t, either(c.toWrite, passed, noScope("vm:write")), ask(t, write, token, ""), "write with %s, %s", c.scope, when)
		}
	}
}

func either(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// What stands behind the authenticator refuses everybody without it.
func TestGuardsWithoutAuthenticator(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	assert.Equal(t, missing, ask(t, chainOf(logger, RequireScope(ScopeRead)), bearer(goodToken()), ""))
	assert.Equal(t, missing, ask(t, chainOf(logger, RequireAccount()), bearer(goodToken()), ""))
	assert.Equal(t, missing, ask(t, chainOf(logger, LimitSubject(1)), bearer(goodToken()), ""))
	assert.Equal(t, missing, ask(t, chainOf(logger, RequireEntitlement(EntitlementConfig{Scope: ScopeWrite})), bearer(goodToken()), ""))
}
