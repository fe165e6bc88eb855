package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

var draining = closing(refusal("503 Service Unavailable", "backend_unavailable", "Not ready: shutting down.", "Retry-After: 1"))

// The end in order: readyz says so, everything else goes on for the delay,
// what is in flight finishes, the process ends with 0.
func TestEndingInOrder(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			const delay = 10 * time.Second
			g := serve(t, []string{"BUS_VM_READ_TIMEOUT=1m"}, "--shutdown-delay", delay.String())
			token := mint("vm:read vm:write")
			body := dial(t, g.addr).send(request("POST "+stopPath, token, "Content-Length: 2") + "{")
			idle := dial(t, g.addr).send(request("GET /readyz", ""))
			idle.expect(t, "GET", okReady)

			began := time.Now()
			g.signal(t, s)
			harness.Eventually(t, "unready", func() bool { return ask(t, g.addr, request("GET /readyz", "")) == draining })
			require.Equal(t, closing(okReady), ask(t, g.addr, request("GET /livez", "")))
			require.Equal(t, closing(okStatus), ask(t, g.addr, request("GET "+statusPath, token)))
			require.Equal(t, closing(okStart), ask(t, g.addr, request("POST "+startPath, token)))
			require.Less(t, time.Since(began), delay, "the machine is too slow for this test")

			harness.Eventually(t, "closed listener", func() bool {
				probe, err := dialTo(g.addr)
				return err != nil || probe.Close() != nil
			})
			require.GreaterOrEqual(t, time.Since(began), delay)
			idle.closes(t)
			require.False(t, g.hasEnded(), "a request is in flight")
			body.send("}").expect(t, "POST", closing(okStop))
			body.closes(t)
			require.Equal(t, 0, g.wait(t), g.stderr)
		})
	}
}

// A second signal ends the process at once, whatever is in flight.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	g := serve(t, nil, "--shutdown-delay", "1h")
	g.signal(t, syscall.SIGTERM)
	harness.Eventually(t, "unready", func() bool { return ask(t, g.addr, request("GET /readyz", "")) == draining })
	g.signal(t, syscall.SIGINT)
	g.wait(t)
	require.Equal(t, syscall.SIGINT, g.command.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

// The socket file has the mode that nginx needs, goes away at the end, and one
// that a dead process left behind is taken over.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/vm.sock"
	token := mint("vm:read")
	dead := serve(t, nil, "--addr", "unix:"+path)
	dead.signal(t, syscall.SIGKILL)
	dead.wait(t)
	_, err := os.Stat(path)
	require.NoError(t, err, "the killed process left its socket")

	g := serve(t, nil, "--addr", "unix:"+path, "--socket-mode", "0666")
	require.Equal(t, path, g.addr)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o666, info.Mode())
	require.Equal(t, okStatus, ask(t, path, request("GET "+statusPath, token)))

	second := run(t, []string{"BUS_VM_JWT_SECRET=" + jwtSecret}, "--addr", "unix:"+path)
	requireExit(t, 1, second, "something else listens on unix socket "+path)
	require.Equal(t, okStatus, ask(t, path, request("GET "+statusPath, token)), "the first one is not disturbed")

	g.stop(t)
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A shutdown that comes right at the start is not lost.
func TestSignalDuringStart(t *testing.T) {
	t.Parallel()
	for range 10 {
		g := serve(t, nil)
		g.signal(t, syscall.SIGTERM)
		require.Equal(t, 0, g.wait(t), g.stderr)
	}
}
