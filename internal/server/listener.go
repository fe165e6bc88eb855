package server

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener hands out connections that can linger, and closes without losing
// the clients that the kernel has already accepted: closing a socket resets
// whatever waits in its backlog, so those are taken out first.
type listener struct {
	net.Listener
	once   sync.Once
	rescue chan net.Conn // filled and closed by Close
	closed error
}

// maxRescued bounds the connections taken out of the backlog; Linux keeps
// fewer than this by default (net.core.somaxconn).
const maxRescued = 4096

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, rescue: make(chan net.Conn, maxRescued)}
}

// Accept returns the next connection; after Close those that Close rescued,
// then net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		return &conn{Conn: c}, nil
	}
	if !errors.Is(err, net.ErrClosed) {
		return nil, err
	}
	if c, ok := <-l.rescue; ok {
		return &conn{Conn: c}, nil
	}
	return nil, err
}

// Close stops listening, once.
func (l *listener) Close() error {
	l.once.Do(func() {
		waiting := l.backlog()
		l.closed = l.Listener.Close()
		for _, fd := range waiting {
			if c, err := fileConn(fd); err == nil {
				l.rescue <- c
			}
		}
		close(l.rescue)
	})
	return l.closed
}

// backlog accepts what waits right now, without waiting itself. It runs as
// close to the closing as can be.
func (l *listener) backlog() (fds []int) {
	socket, ok := l.Listener.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(listening uintptr) {
		for len(fds) < maxRescued {
			fd, _, err := unix.Accept4(int(listening), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			fds = append(fds, fd)
		}
	})
	return fds
}

func fileConn(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "rescued connection")
	defer file.Close() // net.FileConn works on a duplicate
	return net.FileConn(file)
}
