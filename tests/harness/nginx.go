package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// nginxMain is what surrounds the shipped file: nothing that it could lean on,
// and everything that nginx writes below its prefix.
const nginxMain = `daemon off;
%s
worker_processes 2;
pid nginx.pid;
error_log stderr info;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include bus-vm.conf;
}
`

// failuresIn finds what nginx could not do, apart from its ordinary notes.
var failuresIn = regexp.MustCompile(`(?m)^.*\[(warn|error|crit|alert|emerg)\].*$`)

// Nginx runs real nginx with the shipped file, changed in nothing but the addresses,
// in front of upstreams (host:port or the path of a unix socket), until the test ends.
// It returns the address of nginx, a unix socket: nginx cannot pick a free port.
func Nginx(t testing.TB, shipped string, upstreams ...string) (addr string) {
	t.Helper()
	Needs(t, "nginx")
	prefix := t.TempDir()
	addr = filepath.Join(prefix, "nginx.sock")
	user := ""
	if os.Geteuid() == 0 {
		user = "user root root;" // its workers must reach what the test made
	}
	var servers strings.Builder
	for _, upstream := range upstreams {
		if strings.HasPrefix(upstream, "/") {
			upstream = "unix:" + upstream
		}
		fmt.Fprintf(&servers, "server %s max_fails=0;\n", upstream)
	}
	const listen, server = "listen 127.0.0.1:8080;", "server 127.0.0.1:8085 max_fails=0;\n"
	require.Equal(t, []int{1, 2}, []int{strings.Count(shipped, listen), strings.Count(shipped, server)})
	conf := strings.NewReplacer(listen, "listen unix:"+addr+";", server, servers.String()).Replace(shipped)
	for name, text := range map[string]string{"nginx.conf": fmt.Sprintf(nginxMain, user), "bus-vm.conf": conf} {
		require.NoError(t, os.WriteFile(filepath.Join(prefix, name), []byte(text), 0o600))
	}
	output := &Output{}
	command := exec.Command("nginx", "-p", prefix, "-c", "nginx.conf", "-e", "stderr")
	command.Stderr = output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if t.Failed() {
			t.Logf("nginx says:\n%s", strings.Join(failuresIn.FindAllString(output.String(), -1), "\n"))
		}
	})
	Eventually(t, "nginx listens", func() bool {
		probe, err := net.Dial("unix", addr)
		return err == nil && probe.Close() == nil
	}, output)
	return addr
}
