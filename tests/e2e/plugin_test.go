package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/hostile"
)

// buildPlugin builds the module in tests/plugin. Its go.mod is taken from a
// copy that the go command may complete, so that the checkout stays as it is
// when this module has come to require more.
func buildPlugin(t testing.TB) (binary string) {
	t.Helper()
	source, scratch := filepath.Join(moduleRoot, "tests", "plugin"), t.TempDir()
	require.NoError(t, os.CopyFS(scratch, os.DirFS(source)))
	binary = filepath.Join(scratch, "plugin")
	require.NoError(t, harness.Build(source, binary, append(harness.RaceFlags(), "-mod=mod", "-modfile="+filepath.Join(scratch, "go.mod"))...))
	return binary
}

// Another application mounts the API below a prefix, with tokens of its own.
func TestPlugin(t *testing.T) {
	t.Parallel()
	const secret = "the secret of another application, 42 bytes"
	logged.keepOut(secret)
	g := await(t, &gateway{process: launch(t, nil, []string{"PLUGIN_SECRET=" + secret}, buildPlugin(t))})
	t.Cleanup(func() { g.stop(t) })

	token := func(secret, audience, scope string) string {
		claims := hostile.GoodClaims(time.Now()).Set("aud", fmt.Sprintf("%q", audience)).Set("scope", fmt.Sprintf("%q", scope))
		return hostile.Sign(secret, hostile.DefaultHeader, claims.String())
	}
	const prefix, own = "/machines", "plugin.example"
	both, read := token(secret, own, "vm:read vm:write"), token(secret, own, "vm:read")
	for _, c := range []struct{ name, raw, want string }{
		{"status", request("GET "+prefix+statusPath, read), jsonReply("200 OK", "", `{"status":{"state":"ready","provider":"static","details":{}}}`)},
		{"stop", request("POST "+prefix+stopPath, both), jsonReply("202 Accepted", "", stopped)},
		{"status after it", request("GET "+prefix+statusPath, read), jsonReply("200 OK", "", `{"status":{"state":"stopped","provider":"static","details":{}}}`)},
		{"start", withBody("POST "+prefix+startPath, both, "{}"), jsonReply("202 Accepted", "", started)},
		{"readyz", request("GET "+prefix+"/readyz", ""), okReady},
		{"no token", request("GET "+prefix+statusPath, ""), missingToken},
		{"lacking scope", request("POST "+prefix+startPath, read), lacking("vm:write")},
		{"a body", withBody("POST "+prefix+startPath, both, "x"), wantsNoBody},
		{"wrong method", request("DELETE "+prefix+statusPath, both), readOnly},
		{"token of the platform", request("GET "+prefix+statusPath, mint("vm:read")), invalidToken},
		{"audience of the platform", request("GET "+prefix+statusPath, token(secret, hostile.Audience, "vm:read")), invalidToken},
	} {
		require.Equal(t, c.want, ask(t, g.addr, c.raw), c.name)
	}
	status, _ := harness.Get(t, g.addr, statusPath, "")
	require.Equal(t, http.StatusNotFound, status)
	_, page := harness.Get(t, g.addr, "/", "")
	require.Contains(t, page, "the application's own page")
}
