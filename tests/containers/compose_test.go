package containers

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

var (
	static = []string{"deploy/compose.yaml"}
	events = []string{"deploy/compose.yaml", "deploy/compose.events.yaml"}
)

// inRoot is a path of the repository, absolute.
func inRoot(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../" + name)
	require.NoError(t, err)
	return path
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(inRoot(t, name))
	require.NoError(t, err)
	return text
}

// project is what files of the repository describe, read as `docker compose
// config` does, which refuses what is not in the compose specification.
func project(t testing.TB, files []string, environment ...string) *types.Project {
	t.Helper()
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = inRoot(t, file)
	}
	options, err := cli.NewProjectOptions(paths, cli.WithEnv(environment))
	require.NoError(t, err)
	p, err := options.LoadProject(context.Background())
	require.NoError(t, err)
	return p
}

// Only nginx is reached from outside, on loopback, and the services of ours can
// do no more than they need. The engine waits longer than the gateway drains: 70 s
// by default.
func TestComposeIsClosed(t *testing.T) {
	for _, files := range [][]string{static, events} {
		p := project(t, files)
		require.Equal(t, []string{"bus-events", "bus-vm", "nginx"}, slices.Sorted(slices.Values(p.ServiceNames())))
		for name, service := range p.Services {
			if name == "nginx" {
				continue
			}
			require.Empty(t, service.Ports, name)
			require.True(t, service.ReadOnly, name)
			require.Equal(t, []string{"ALL"}, service.CapDrop, name)
			require.Equal(t, []string{"no-new-privileges:true"}, service.SecurityOpt, name)
			require.False(t, service.Privileged, name)
			require.FileExists(t, filepath.Join(service.Build.Context, service.Build.Dockerfile), name)
			require.Contains(t, stages(t), service.Build.Target, name)
		}
		require.Greater(t, time.Duration(*p.Services["bus-vm"].StopGracePeriod), 70*time.Second)
		require.Equal(t, "8080", p.Services["nginx"].Ports[0].Published)
		ports := project(t, files, "LOCAL_AI_PLATFORM_PORT=9999").Services["nginx"].Ports
		require.Len(t, ports, 1)
		require.Equal(t, "127.0.0.1 9999", ports[0].HostIP+" "+ports[0].Published)
	}
}

// The services find each other: nginx has the shipped file with the address of
// bus-vm in it, and in events mode bus-vm asks bus-events with the token that
// bus-events writes, and keeps its records on a volume that the image's user owns.
func TestComposeWiresTheServices(t *testing.T) {
	p := project(t, events)
	mounts := func(service string) map[string]string { // by source
		targets := map[string]string{}
		for _, volume := range p.Services[service].Volumes {
			targets[volume.Source] = volume.Target
		}
		return targets
	}
	nginx, vm, broker := p.Services["nginx"], p.Services["bus-vm"], p.Services["bus-events"]
	shipped := inRoot(t, "deploy/nginx/bus-vm.conf")
	require.Equal(t, map[string]string{shipped: "/deploy/bus-vm.conf"}, mounts("nginx"))
	script := strings.NewReplacer("/deploy/bus-vm.conf", shipped, ">/etc/nginx/conf.d/default.conf", "", "exec nginx -g 'daemon off;'", "").Replace(nginx.Command[2])
	conf, err := exec.Command(nginx.Command[0], nginx.Command[1], script).Output()
	require.NoError(t, err)
	require.Equal(t, 2, bytes.Count(conf, []byte("server bus-vm:8085 ")))
	require.Contains(t, string(conf), "listen 8080;")
	require.NotContains(t, string(conf), "server 127.0.0.1")

	require.Subset(t, project(t, static).Services["bus-vm"].Command, []string{"0.0.0.0:8085", "static"})
	require.Equal(t, vm.Environment["BUS_VM_JWT_SECRET"], broker.Environment["BUS_VM_JWT_SECRET"])
	require.Subset(t, vm.Command, []string{"0.0.0.0:8085", "http://bus-events:8081", "/run/bus/provider.token"})
	require.Subset(t, broker.Command, []string{"0.0.0.0:8081", "/run/bus/provider.token"})
	require.Equal(t, map[string]string{"token": "/run/bus", "usage": "/var/lib/bus-api-provider-vm"}, mounts("bus-vm"))
	require.Equal(t, map[string]string{"token": "/run/bus"}, mounts("bus-events"))
	require.Equal(t, user, copied(t, "provider")["/var/lib/bus-api-provider-vm"])
	require.Contains(t, config(t, "provider").Env, "STATE_DIRECTORY=/var/lib/bus-api-provider-vm")
	require.Equal(t, user, copied(t, "events")["/run/bus"])
	require.Equal(t, types.RestartPolicyUnlessStopped, vm.Restart, "bus-vm may start before the token is there")
}
