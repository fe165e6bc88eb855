package main

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The names of the programs built for a run: those of their directories.
const (
	gateway   = "bus-api-provider-vm"
	busClient = "busclient"
)

// The names of the servers, as the report shows them.
const (
	gatewayName   = "this gateway"
	fasthttpPeer  = "bare fasthttp"
	fiberPeer     = "bare Fiber"
	fiberJWTPeer  = "Fiber + contrib/jwt"
	netHTTPPeer   = "net/http, no checks"
	haproxyPeer   = "HAProxy jwt_verify"
	nginxPeer     = "nginx return 200"
	busClientPeer = "plain Events client"
	// busFreshPeer has a connection for each start, as the gateway has.
	busFreshPeer = "plain Events client, a connection a start"
)

// spec says how to run a server.
type spec struct {
	name string
	// command returns the command that serves on addr, with nothing but its
	// own in Env; dir holds the built programs and takes scratch files.
	command func(dir, addr string) *exec.Cmd
	// wants is the document it answers; empty for wire.Document.
	wants string
}

// gatewaySpec is the gateway as it ships: every setting at its default, but
// the address.
var gatewaySpec = spec{name: gatewayName, command: func(dir, addr string) *exec.Cmd {
	return exec.Command(filepath.Join(dir, gateway), "--addr", addr)
}}

var peers = []spec{
	program(fasthttpPeer, "fasthttp"),
	program(fiberPeer, "fiber"),
	program(fiberJWTPeer, "fiberjwt"),
	program(netHTTPPeer, "nethttp"),
	{name: haproxyPeer, command: haproxy},
	{name: nginxPeer, command: nginx},
}

func program(name, file string) spec {
	return spec{name: name, command: func(dir, addr string) *exec.Cmd {
		return exec.Command(filepath.Join(dir, file), addr)
	}}
}

var (
	//go:embed peers/haproxy/haproxy.cfg
	haproxyConfig string
	//go:embed peers/nginx/nginx.conf
	nginxConfig string
)

func haproxy(dir, addr string) *exec.Cmd {
	path := filepath.Join(dir, "haproxy.cfg")
	check(os.WriteFile(path, []byte(haproxyConfig), 0o600))
	cmd := exec.Command("haproxy", "-db", "-q", "-f", path)
	cmd.Env = []string{"BENCH_ADDR=" + addr}
	return cmd
}

// nginx has no variables for its own settings, so its file is filled in.
func nginx(dir, addr string) *exec.Cmd {
	path := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("BENCH_DIR", dir, "BENCH_ADDR", addr).Replace(nginxConfig)
	check(os.WriteFile(path, []byte(text), 0o600))
	return exec.Command("nginx", "-p", dir, "-c", path)
}

// pick returns the specs with the given names.
func pick(names ...string) []spec {
	return slices.DeleteFunc(append([]spec{gatewaySpec}, peers...), func(s spec) bool { return !slices.Contains(names, s.name) })
}
