// Package address reads the addresses of listeners: host:port, or unix: and the
// path of a socket.
package address

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
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

// IsLoopback reports whether an address is out of reach for other machines.
func IsLoopback(addr string) bool {
	if _, isUnix := Socket(addr); isUnix {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsLoopbackHost(host)
}

// IsLoopbackHost reports a host that is this machine, seen from itself.
func IsLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == localhost || ip != nil && ip.IsLoopback()
}

const localhost = "localhost"

// Overlap reports two addresses that cannot be listened on at once: one unix
// socket, or one port of hosts of which one includes the other. Port 0 is
// another port each time.
func Overlap(one, other string) bool {
	path, isUnix := Socket(one)
	otherPath, otherIsUnix := Socket(other)
	if isUnix || otherIsUnix {
		return isUnix && otherIsUnix && filepath.Clean(path) == filepath.Clean(otherPath)
	}
	host, port, err := net.SplitHostPort(one)
	otherHost, otherPort, otherErr := net.SplitHostPort(other)
	if err != nil || otherErr != nil || number(port) != number(otherPort) || number(port) == "" {
		return false
	}
	return isAny(host) || isAny(otherHost) || plain(host) == plain(otherHost)
}

// number is a port without leading zeros; empty for 0.
func number(port string) string { return strings.TrimLeft(port, "0") }

func isAny(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// plain is one spelling of a host.
func plain(host string) string {
	if strings.EqualFold(host, localhost) {
		return "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(host)
}
