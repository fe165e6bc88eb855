package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// surroundings is what the shipped file is included in.
const surroundings = `daemon off;
%spid nginx.pid;
error_log stderr notice;
events {}
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

const nginxAttempts = 4

// startNginx puts nginx in front of the gateway, with deploy/nginx/bus-vm.conf
// changed in nothing but the addresses, and returns where it listens.
func (s *stack) startNginx(ctx context.Context, upstream string) (addr string, err error) {
	if _, err := exec.LookPath("nginx"); err != nil {
		return "", fmt.Errorf("nginx is needed: install it, or use -no-nginx to leave it out: %w", err)
	}
	addr = s.nginx
	if strings.HasSuffix(addr, ":0") {
		if addr, err = freeAddr(); err != nil {
			return "", err
		}
	}
	for range nginxAttempts {
		if err = s.tryNginx(ctx, addr, upstream); !isTaken(err) {
			return addr, err
		}
		if addr, err = freeAddr(); err != nil {
			return "", err
		}
	}
	return "", s.front.failure()
}

func (s *stack) tryNginx(ctx context.Context, addr, upstream string) error {
	// A stranger on that address must not be taken for this nginx.
	if l, err := net.Listen("tcp", addr); err != nil {
		return err
	} else if err := l.Close(); err != nil {
		return err
	}
	prefix := filepath.Join(s.dir, "nginx")
	if err := s.writeNginx(ctx, prefix, addr, upstream); err != nil {
		return err
	}
	var err error
	if s.front, err = begin(filepath.Join(prefix, "nginx.log"), nil, "nginx", "-p", prefix, "-c", "nginx.conf", "-e", "stderr"); err != nil {
		return err
	}
	return s.front.until(ctx, func() bool {
		probe, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		_ = probe.Close() // it has said what it had to
		return true
	})
}

func (s *stack) writeNginx(ctx context.Context, prefix, addr, upstream string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	shipped, err := os.ReadFile(filepath.Join(root, "deploy", "nginx", "bus-vm.conf"))
	if err != nil {
		return err
	}
	conf := string(shipped)
	for old, new := range map[string]string{
		"listen 127.0.0.1:8080;": "listen " + addr + ";",
		"server 127.0.0.1:8085 ": "server " + upstream + " ",
	} {
		if !strings.Contains(conf, old) {
			return fmt.Errorf("deploy/nginx/bus-vm.conf has no %q any more", old)
		}
		conf = strings.ReplaceAll(conf, old, new)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root root;\n" // its workers write below a directory of root
	}
	if err := os.MkdirAll(prefix, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(prefix, "bus-vm.conf"), []byte(conf), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(prefix, "nginx.conf"), fmt.Appendf(nil, surroundings, user), 0o600)
}

// freeAddr is an address that was free a moment ago: nginx cannot pick one.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
