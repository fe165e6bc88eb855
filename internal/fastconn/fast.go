//go:build linux && !race

package fastconn

import (
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// transport moves bytes by system calls that never wait, inside the calls of
// raw, which wait for the poller where there is nothing to do yet.
type transport struct {
	raw       syscall.RawConn           // nil for a connection that is no socket
	readAhead func(socket uintptr) bool // Conn.receiveAhead, as raw wants it
	sendAll   func(socket uintptr) bool // Conn.send, likewise
	failed    error                     // how one of them ended
	unsent    []byte                    // what is left of a Write
}

func (c *Conn) open() (err error) {
	if socket, ok := c.Conn.(syscall.Conn); ok {
		c.readAhead, c.sendAll = c.receiveAhead, c.send
		c.raw, err = socket.SyscallConn()
	}
	return err
}

// receive waits until there is something to read ahead.
func (c *Conn) receive() error {
	if c.raw == nil {
		return c.receivePlain()
	}
	if err := c.raw.Read(c.readAhead); err != nil {
		return err
	}
	return c.failed
}

// receiveAhead reads what is there, and reports false when there is nothing yet.
func (c *Conn) receiveAhead(socket uintptr) bool {
	buffer := buffers.Get().(*[]byte)
	n, errno := transfer(unix.SYS_RECVFROM, socket, *buffer)
	if n > 0 {
		c.ahead, c.to, c.failed = buffer, n, nil
		return true
	}
	buffers.Put(buffer)
	switch errno {
	case unix.EAGAIN:
		return false
	case 0:
		c.failed = io.EOF
	default:
		c.failed = os.NewSyscallError("recvfrom", errno)
	}
	return true
}

// Write sends p, within the time for the whole reply.
func (c *Conn) Write(p []byte) (int, error) {
	if c.raw == nil {
		return c.writePlain(p)
	}
	c.unsent, c.failed = p, nil
	err := c.raw.Write(c.sendAll)
	if err == nil {
		err = c.failed
	}
	n := len(p) - len(c.unsent)
	c.unsent = nil
	return n, err
}

// send sends what is unsent, and reports false when there is no room for it.
func (c *Conn) send(socket uintptr) bool {
	for len(c.unsent) > 0 {
		n, errno := transfer(unix.SYS_SENDTO, socket, c.unsent)
		switch errno {
		case 0:
			c.unsent = c.unsent[n:]
		case unix.EAGAIN:
			c.failed = c.noRoom()
			return c.failed != nil
		default:
			c.failed = os.NewSyscallError("sendto", errno)
			return true
		}
	}
	return true
}

// transfer receives or sends without waiting. What never waits is never
// interrupted, and the scheduler need not know of it, so it costs a good deal
// less than Read or Write of a net.Conn.
func transfer(call, socket uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(call, socket,
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
