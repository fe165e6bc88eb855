//go:build unix

package events

import (
	"crypto/tls"
	"net"
	"syscall"
)

// alive reports whether an idle connection can take a request: false once the
// server has closed it, or sent what nobody asked for. It does not block and
// reads nothing away.
func alive(conn net.Conn) bool {
	secured, isTLS := conn.(*tls.Conn)
	if isTLS {
		conn = secured.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, errno := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		// Over TLS, bytes may be a session ticket (RFC 8446 §4.6.1).
		open = errno == syscall.EAGAIN || errno == syscall.EWOULDBLOCK || (isTLS && n > 0)
		return true // do not wait
	})
	return err == nil && open
}
