package containers

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const account = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

// caller calls the API from outside, through nginx.
type caller struct{ base, token string }

func (c caller) call(method, path string) (status int, body string) {
	request, err := http.NewRequest(method, c.base+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return 0, err.Error()
	}
	return reply.StatusCode, string(text)
}

func (c caller) expect(t testing.TB, method, path string, wantStatus int, want string) {
	t.Helper()
	status, body := c.call(method, path)
	require.Equal(t, wantStatus, status, body)
	require.Contains(t, body, want)
}

// compose starts what files describe on a free port, and returns a caller for
// it once it is ready.
func compose(t testing.TB, images map[string]image, files []string) (*stack, caller) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	p := project(t, files, "LOCAL_AI_PLATFORM_PORT="+port)
	s := up(t, p, images, listener)
	mint := exec.Command(filepath.Join(images["provider"].root, "usr/bin/bus-api-provider-vm"), "token", "--scope", "vm:read vm:write", "--sub", account)
	mint.Env = []string{"BUS_VM_JWT_SECRET=" + *p.Services["bus-vm"].Environment["BUS_VM_JWT_SECRET"]}
	c := caller{"http://127.0.0.1:" + port, strings.TrimSpace(run(t, mint))}
	logs := func() (all string) {
		for name, one := range s.containers {
			all += "== " + name + "\n" + one.log.String()
		}
		return all
	}
	eventually(t, "ready", logs, func() bool { status, _ := c.call("GET", "/readyz"); return status == 200 })
	return s, c
}

// The image is built and the stack runs as the files say, without an engine.
func TestStack(t *testing.T) {
	images := map[string]image{}
	t.Run("static", func(t *testing.T) {
		s, c := compose(t, images, static)
		c.expect(t, "GET", "/api/v1/vm/status", 200, `{"status":{"state":"ready","provider":"static"`)
		c.expect(t, "POST", "/api/v1/vm/stop", 202, `{"accepted":true,"action":"stop"}`)
		c.expect(t, "GET", "/api/v1/vm/status", 200, `"state":"stopped"`)
		c.expect(t, "POST", "/api/v1/vm/start", 202, `{"accepted":true,"action":"start"}`)
		c.expect(t, "GET", "/api/v1/vm/status", 200, `"state":"ready"`)
		caller{base: c.base}.expect(t, "GET", "/api/v1/vm/status", 401, `"invalid_auth"`)
		c.expect(t, "GET", "/metrics", 404, "") // nginx shows nothing else
		require.Zero(t, s.containers["bus-vm"].stop(t), s.containers["bus-vm"].log)
		c.expect(t, "GET", "/api/v1/vm/status", 502, `"bad_gateway"`)
	})
	t.Run("events", func(t *testing.T) {
		s, c := compose(t, images, events)
		c.expect(t, "GET", "/api/v1/vm/status", 200, `"state":"stopped"`)
		c.expect(t, "POST", "/api/v1/vm/start", 202, `{"accepted":true,"action":"start"}`)
		vm, broker := s.containers["bus-vm"], s.containers["bus-events"]
		eventually(t, "started", vm.log.String, func() bool {
			_, body := c.call("GET", "/api/v1/vm/status")
			return strings.Contains(body, `"state":"ready"`)
		})
		require.Zero(t, vm.stop(t), vm.log)
		require.Zero(t, broker.stop(t), broker.log)
		require.NotContains(t, broker.log.String(), "\nbreach")
		for _, record := range []string{"runtime_start_requested account=" + account, "runtime_start_finished account=" + account} {
			require.Contains(t, broker.log.String(), record)
		}
		_, err := os.Stat(filepath.Join(s.volumes["usage"], "outbox.db"))
		require.NoError(t, err, "the records were on the volume")
	})
}
