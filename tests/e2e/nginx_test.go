package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
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

// startNginx runs real nginx with the shipped file, changed in nothing but the
// addresses, in front of upstreams (host:port or the path of a unix socket). It
// returns the address of nginx, a unix socket: nginx cannot pick a free port.
func startNginx(t testing.TB, upstreams ...string) (addr string) {
	t.Helper()
	harness.Needs(t, "nginx")
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
	conf := shipped(t, "nginx/bus-vm.conf")
	require.Equal(t, 1, strings.Count(conf, "listen 127.0.0.1:8080;"))
	require.Equal(t, 2, strings.Count(conf, "server 127.0.0.1:8085 max_fails=0;\n"))
	conf = strings.NewReplacer("listen 127.0.0.1:8080;", "listen unix:"+addr+";", "server 127.0.0.1:8085 max_fails=0;\n", servers.String()).Replace(conf)
	for name, text := range map[string]string{"nginx.conf": fmt.Sprintf(nginxMain, user), "bus-vm.conf": conf} {
		require.NoError(t, os.WriteFile(filepath.Join(prefix, name), []byte(text), 0o600))
	}
	p := launch(t, nil, "nginx", "-p", prefix, "-c", "nginx.conf", "-e", "stderr")
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		p.wait(t)
		if t.Failed() {
			t.Logf("nginx says:\n%s", strings.Join(failuresIn.FindAllString(p.stderr.String(), -1), "\n"))
		}
	})
	harness.Eventually(t, "nginx listens", func() bool {
		probe, err := net.Dial("unix", addr)
		return err == nil && probe.Close() == nil
	}, p.stderr)
	return addr
}
