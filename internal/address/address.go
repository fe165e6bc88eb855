// Package address reads the addresses of listeners: host:port, or unix: and the
// path of a socket.
package address

import (
	"context"
	"net"
	"net/http"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// UnixPrefix marks a unix socket: unix:/path/to.sock.
const UnixPrefix = "unix:"

// Socket returns the path of a unix socket; false means that addr is none.
func Socket(addr string) (path string, isUnix bool) { return strings.CutPrefix(addr, UnixPrefix) }

// maxPath is what fits into sockaddr_un beside its final NUL (unix(7)).
const maxPath = 107

// Valid reports an address: host:port with a numeric port, or a unix socket at
// an absolute path.
func Valid(addr string) bool {
	if path, isUnix := Socket(addr); isUnix {
		return filepath.IsAbs(path) && len(path) <= maxPath && !strings.Contains(path, "\x00")
	}
	_, port, err := net.SplitHostPort(addr)
	_, notNumeric := strconv.ParseUint(port, 10, 16)
	return err == nil && notNumeric == nil
}

// IsLoopback reports whether an address, or none, is out of reach for other
// machines.
func IsLoopback(addr string) bool {
	if _, isUnix := Socket(addr); isUnix || addr == "" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsLoopbackHost(host)
}

// IsLoopbackHost reports a host that is this machine, seen from itself.
func IsLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Client asks what listens on addr, whatever the host of an URL, on a fresh
// connection each time.
func Client(addr string, timeout time.Duration) *http.Client {
	network, target := "tcp", addr
	if path, isUnix := Socket(addr); isUnix {
		network, target = "unix", path
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target)
		},
	}}
}

// GroupID is the number of a group that a unix socket may be given to; it may
// be given as a number already.
func GroupID(group string) (int, error) {
	if known, err := user.LookupGroup(group); err == nil {
		group = known.Gid
	} else if _, notNumber := strconv.ParseUint(group, 10, 31); notNumber != nil {
		return 0, err
	}
	return strconv.Atoi(group)
}
