package middleware

import (
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/valyala/fasthttp"
)

func TestRequireAccount(t *testing.T) {
	handler := behind(newAuth(t, nil), RequireAccount())
	noAccount := refused("403 Forbidden", "", "insufficient_access", "The subject of this token is not a billable account.")
	for _, c := range []struct{ subject, want string }{
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", passed},
		{"9A1F6F0E-3C57-4F0E-8F1D-2B8F6A0C1D2E", passed},
		{"00000000-0000-0000-0000-000000000001", passed},
		{"9a1f6f0e3c574f0e8f1d2b8f6a0c1d2e", noAccount},
		{"{9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e}", noAccount},
		{"urn:uuid:9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", noAccount},
		{" 9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e ", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2", noAccount},
		{"9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2g", noAccount},
		{"9a1f6f0e_3c57_4f0e_8f1d_2b8f6a0c1d2e", noAccount},
		{"a service with a 36 characters' name", noAccount},
		{"bus-vm-local", noAccount},
		{`9a1f6f0e-3c57-4f0e-8f1d-2b8f6a0c1d2e\u0001`, noAccount},
	} {
		assert.Equal(t, c.want, ask(t, handler, bearer(tokenWith("sub", `"`+c.subject+`"`)), ""), "%q", c.subject)
	}
}

// A scope is granted by its exact name between ASCII spaces, by nothing else.
func TestRequireScope(t *testing.T) {
	auth := newAuth(t, nil)
	handlers := map[string]fasthttp.RequestHandler{
		ScopeRead: behind(auth, RequireScope(ScopeRead)), ScopeWrite: behind(auth, RequireScope(ScopeWrite)),
	}
	for claim, granted := range map[string]string{ // raw JSON
		"": "", `""`: "", `" "`: "", // the first leaves it out
		`"vm:read"`: ScopeRead, `"vm:write"`: ScopeWrite,
		`"vm:read vm:write"`: ScopeRead + " " + ScopeWrite, `"vm:write vm:read"`: ScopeRead + " " + ScopeWrite,
		`"a vm:read b"`: ScopeRead, `"  vm:read  "`: ScopeRead, `"\u0076m:read"`: ScopeRead,
		`"VM:READ VM:WRITE"`: "", `"vm:Read"`: "", `"vm:reads"`: "", `"xvm:read"`: "", `"vm:rea"`: "", `"vm: read"`: "",
		`"vm"`: "", `"vm:*"`: "", `"*"`: "",
		`"vm:read,vm:write"`: "", `"vm:read+vm:write"`: "", `"vm:read;vm:write"`: "",
		`"vm:read\tvm:write"`: "", `"vm:read\nvm:write"`: "", `"vm:read\u00a0vm:write"`: "", `"vm:read\u2003vm:write"`: "", `"vm:read\u0000"`: "",
	} {
		for scope, handler := range handlers {
			want := refused("403 Forbidden", "Www-Authenticate: Bearer realm=\"bus-vm\", error=\"insufficient_scope\", scope=\""+scope+"\"\n",
				"insufficient_access", "The token lacks the scope "+scope+".")
			if strings.Contains(granted, scope) {
				want = passed
			}
			for _, when := range []string{"first", "remembered"} {
				assert.Equal(t, want, ask(t, handler, bearer(tokenWith("scope", claim)), ""), "%s with %s, %s", scope, claim, when)
			}
		}
	}
}

// What stands behind the authenticator refuses everybody without it.
func TestGuardsWithoutAuthenticator(t *testing.T) {
	for _, guard := range []fiber.Handler{
		RequireScope(ScopeRead), RequireAccount(), LimitSubject(1), RequireEntitlement(nil, ScopeWrite, time.Second, metrics.NewSet()),
	} {
		assert.Equal(t, missing, ask(t, chainOf(silent, guard), bearer(goodToken()), ""))
	}
}
