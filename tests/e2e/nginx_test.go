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

// startNginx runs real nginx with the shipped file, changed in nothing but the
// addresses, in front of upstreams (host:port or the path of a unix socket). It
// returns the address of nginx.
func startNginx(t testing.TB, upstreams ...string) (addr string) {
	t.Helper()
	harness.Needs(t, "nginx")
	const attempts = 5 // nginx cannot pick a free port, and one may be taken meanwhile
	for range attempts {
		addr = harness.FreeAddress(t)
		if tryNginx(t, addr, upstreams) {
			return addr
		}
	}
	t.Fatal("nginx did not start")
	return ""
}

func tryNginx(t testing.TB, addr string, upstreams []string) (listening bool) {
	t.Helper()
	prefix := t.TempDir()
	user := ""
	if os.Geteuid() == 0 {
		user = "user root root;" // its workers must reach what the test made
	}
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(prefix, name), []byte(text), 0o600))
	}
	write("nginx.conf", fmt.Sprintf(nginxMain, user))
	write("bus-vm.conf", shippedConf(t, addr, upstreams))
	p := launch(t, nil, "nginx", "-p", prefix, "-c", "nginx.conf", "-e", "stderr")
	harness.Eventually(t, "nginx listening", func() bool {
		probe, err := net.Dial("tcp", addr)
		if err == nil {
			_ = probe.Close()
			listening = true
		}
		return listening || p.hasEnded()
	})
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		p.wait(t)
		if t.Failed() {
			t.Logf("nginx says:\n%s", strings.Join(failuresIn.FindAllString(p.stderr.String(), -1), "\n"))
		}
	})
	if p.hasEnded() {
		require.Contains(t, p.stderr.String(), "Address already in use")
		return false
	}
	return listening
}

// failuresIn finds what nginx could not do, apart from its ordinary notes.
var failuresIn = regexp.MustCompile(`(?m)^.*\[(warn|error|crit|alert|emerg)\].*$`)

// shippedConf is deploy/nginx/bus-vm.conf with other addresses.
func shippedConf(t testing.TB, addr string, upstreams []string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(moduleRoot, "deploy", "nginx", "bus-vm.conf"))
	require.NoError(t, err)
	var servers strings.Builder
	for _, upstream := range upstreams {
		if strings.HasPrefix(upstream, "/") {
			upstream = "unix:" + upstream
		}
		fmt.Fprintf(&servers, "server %s max_fails=0;\n", upstream)
	}
	text := string(raw)
	replace := func(count int, old, new string) {
		require.Equal(t, count, strings.Count(text, old), old)
		text = strings.ReplaceAll(text, old, new)
	}
	replace(1, "listen 127.0.0.1:8080;", "listen "+addr+";")
	replace(2, "server 127.0.0.1:8085 max_fails=0;\n", servers.String())
	return text
}
