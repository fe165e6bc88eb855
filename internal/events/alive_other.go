//go:build !unix

package events

import "net"

// alive cannot look into a socket here. A publish that meets a connection the
// server has closed ends with an unknown outcome.
func alive(net.Conn) bool { return true }
