package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// The clients of docs/clients start the runtime and wait for it, longer than one
// request may; a refusal ends them with what it says. Each is short.
func TestClients(t *testing.T) {
	t.Parallel()
	g := serve(t, []string{"BUS_VM_WAIT_MAX=1s"}, "--static-state", "stopped", "--static-transition", "3s")
	stop := func() { require.Equal(t, 202, replyTo(t, g.addr, request("POST "+stopPath, mint("vm:write"))).Status) }
	preamble := regexp.MustCompile(`(?s)^(//|#)[^\n]*\n(package main\n+import \(.*?\)\n)?`)
	for _, command := range [][]string{{"python3", "start.py"}, {"node", "start.mjs"}, {"go", "run", "start.go"}} {
		t.Run(command[0], func(t *testing.T) {
			harness.Needs(t, command[0])
			file := command[len(command)-1]
			text, err := os.ReadFile("../../docs/clients/" + file)
			require.NoError(t, err)
			code := strings.ReplaceAll(strings.TrimSpace(preamble.ReplaceAllString(string(text), "")), "\n\n", "\n")
			assert.LessOrEqual(t, strings.Count(code, "\n")+1, 15, "lines of %s", file)

			run := func(token string) (stdout, stderr string, err error) {
				var out, failed harness.Output
				client := exec.CommandContext(t.Context(), command[0], command[1:]...)
				client.Dir, client.Env = "../../docs/clients", append(os.Environ(), "VM_URL=http://"+g.addr, "TOKEN="+token)
				client.Stdout, client.Stderr = &out, &failed
				err = client.Run()
				return out.String(), failed.String(), err
			}
			stdout, stderr, err := run(mint("vm:write"))
			require.NoError(t, err, stderr)
			require.Equal(t, "ready\n", stdout)
			_, stderr, err = run("x")
			require.Error(t, err)
			require.Contains(t, stderr, "The bearer token is not valid for this API.")
			require.Contains(t, stderr, "invalid_auth")
			stop()
		})
	}
}
