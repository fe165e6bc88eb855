package containers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// nginxConf is what the nginx image has around what a container adds.
const nginxConf = `user www-data;
error_log stderr notice;
pid /run/nginx.pid;
events {}
http {
    access_log off;
    include /etc/nginx/conf.d/*.conf;
}
`

// stack is a project that runs.
type stack struct {
	project    *types.Project
	images     map[string]image
	network    *network
	volumes    map[string]string
	containers map[string]*container
}

// up starts the services of a project, each after those it depends on, and
// publishes the ports of listener's number.
func up(t testing.TB, p *types.Project, images map[string]image, listener net.Listener) *stack {
	t.Helper()
	s := &stack{p, images, newNetwork(t), map[string]string{}, map[string]*container{}}
	require.NoError(t, p.ForEachService(p.ServiceNames(), func(name string, service *types.ServiceConfig) error {
		s.containers[name] = s.start(t, *service)
		for _, port := range service.Ports {
			require.Equal(t, listener.Addr().String(), net.JoinHostPort(port.HostIP, port.Published))
			s.network.publish(t, listener, port.Target)
		}
		return nil
	}))
	return s
}

func (s *stack) start(t testing.TB, service types.ServiceConfig) *container {
	t.Helper()
	var i image
	b := box{user: "0:0", network: s.network, readOnly: service.ReadOnly}
	if service.Build != nil {
		i = build(t, s.images, service.Build.Target)
		b.user = i.config.User
	} else {
		i = borrow(t)
		etc := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(etc, "conf.d"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(etc, "nginx.conf"), []byte(nginxConf), 0o644))
		b.mounts = append(b.mounts, mount{source: etc, target: "/etc/nginx"})
	}
	for _, volume := range service.Volumes {
		source := volume.Source
		if volume.Type == types.VolumeTypeVolume {
			require.Contains(t, s.project.Volumes, source)
			source = s.volume(t, source, filepath.Join(i.root, volume.Target))
		}
		b.mounts = append(b.mounts, mount{source, volume.Target, volume.ReadOnly})
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	names := "127.0.0.1 localhost"
	for _, name := range s.project.ServiceNames() {
		names += " " + name
	}
	require.NoError(t, os.WriteFile(hosts, []byte(names+"\n"), 0o644))
	b.mounts = append(b.mounts, mount{hosts, "/etc/hosts", true})
	b.environment = slices.Clone(i.config.Env)
	for name, value := range service.Environment {
		b.environment = append(b.environment, name+"="+*value)
	}
	program := append(slices.Clone(i.config.Entrypoint), service.Command...)
	c := &container{log: &logged{}, again: service.Restart == types.RestartPolicyUnlessStopped}
	if service.StopGracePeriod != nil {
		c.grace = time.Duration(*service.StopGracePeriod)
	}
	c.run(t, i.command(t, b, program...).Args)
	return c
}

// volume is a directory that outlives containers; a new one takes the content
// and the owner that the image has at its place.
func (s *stack) volume(t testing.TB, name, inImage string) string {
	t.Helper()
	if s.volumes[name] == "" {
		s.volumes[name] = filepath.Join(t.TempDir(), name)
		if _, err := os.Stat(inImage); err == nil {
			run(t, exec.Command("cp", "-a", inImage, s.volumes[name]))
		} else {
			require.NoError(t, os.Mkdir(s.volumes[name], 0o755))
		}
		require.NoError(t, os.Chmod(filepath.Dir(s.volumes[name]), 0o755))
	}
	return s.volumes[name]
}
