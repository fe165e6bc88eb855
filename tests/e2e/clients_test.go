package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// The clients of docs/clients start the runtime and wait for it, where no request may
// wait, without asking in a loop. A refusal ends them with what it says, and so do a
// gateway that is not there and a variable that is not set. Each is short.
func TestClients(t *testing.T) {
	t.Parallel()
	g := serve(t, []string{"BUS_VM_WAIT_MAX=0"}, "--static-state", "stopped", "--static-transition", "3s")
	stop := func() { require.Equal(t, 202, replyTo(t, g.addr, request("POST "+stopPath, mint("vm:write"))).Status) }
	starts := func() int { return strings.Count(g.stderr.String(), "msg=audit action=start") }
	for _, command := range [][]string{{"python3", "start.py"}, {"node", "start.mjs"}, {"go", "run", "start.go"}} {
		t.Run(command[0], func(t *testing.T) {
			harness.Needs(t, command[0])
			file := command[len(command)-1]
			text, err := os.ReadFile("../../docs/clients/" + file)
			require.NoError(t, err)
			_, code, _ := strings.Cut(string(text), "set VM_URL and TOKEN")
			_, code, checked := strings.Cut(code, "\n\n")
			require.True(t, checked, "%s checks the variables first", file)
			assert.LessOrEqual(t, strings.Count(strings.TrimSuffix(code, "}\n"), "\n"), 15, "lines of %s", file)

			run := func(url, token string) (stdout, stderr string, err error) {
				var out, failed harness.Output
				client := exec.CommandContext(t.Context(), command[0], command[1:]...)
				client.Dir, client.Env = "../../docs/clients", append(os.Environ(), "VM_URL="+url, "TOKEN="+token)
				client.Stdout, client.Stderr = &out, &failed
				err = client.Run()
				return out.String(), failed.String(), err
			}
			before := starts()
			stdout, stderr, err := run("http://"+g.addr, mint("vm:write"))
			require.NoError(t, err, stderr)
			require.Equal(t, "ready\n", stdout)
			require.LessOrEqual(t, starts()-before, 3, "requests")
			for _, c := range []struct{ url, token, want string }{
				{"http://" + g.addr, "x", "The bearer token is not valid for this API."},
				{"http://" + harness.FreeAddress(t), "x", "ECONNREFUSED|[Cc]onnection refused"},
				{"http://a b", "x", "a b"},
				{"", "x", "set VM_URL and TOKEN"},
				{"http://" + g.addr, "", "set VM_URL and TOKEN"},
			} {
				_, stderr, err = run(c.url, c.token)
				require.Error(t, err)
				require.Regexp(t, c.want, stderr)
				require.NotRegexp(t, `map\[|None|undefined|Traceback|goroutine|at async`, stderr)
				require.LessOrEqual(t, strings.Count(stderr, "\n"), 2, stderr) // go run adds a line
			}
			stop()
		})
	}
}
