// Package wire is what all peers have in common: the very bytes the gateway
// answers a status read with, and how a peer is started.
package wire

import (
	"fmt"
	"net"
	"os"
)

// What the gateway sends. The request id is constant here: a peer pays for the
// bytes, not for making one.
const (
	Path      = "/api/v1/vm/status"
	Document  = `{"status":{"state":"ready","provider":"static","details":{}}}`
	Type      = "application/json"
	IDName    = "X-Request-Id"
	ID        = "5d1f0c3b7a9e2468000000000000002a"
	CacheName = "Cache-Control"
	Cache     = "no-store"

	Audience = "ai.hg.fi/api"
	Scope    = "vm:read"
)

// SecretEnv names the HS256 secret, for the gateway and the peers alike.
const SecretEnv = "BUS_VM_JWT_SECRET"

// Serve listens on the address in the first argument and serves there; it
// ends the process when that fails.
func Serve(serve func(net.Listener) error) {
	if len(os.Args) < 2 {
		exit(fmt.Errorf("usage: %s host:port", os.Args[0]))
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		exit(err)
	}
	exit(serve(l))
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
