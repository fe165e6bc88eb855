package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
)

const (
	staleDial  = time.Second          // for the look whether a process answers on a unix socket
	maxBacklog = 4096                 // connections accepted while a listener closes; net.core.somaxconn of Linux
	emptyAfter = 5 * time.Millisecond // without one of them
)

// Listen opens a listener on addr, which is host:port or unix:/path, that serves
// its backlog when it closes. A unix socket that a dead process left behind is
// replaced; one in use is an error.
func Listen(addr string, socket config.Socket) (net.Listener, error) {
	network, name, remedy := "tcp", addr, "choose an address of this machine, and a port that this user may use"
	path, isUnix := address.Socket(addr)
	if isUnix {
		network, name, remedy = "unix", "unix socket "+path, "its directory must exist and be writable for this user"
		addr = path
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // nothing is gained by it behind a proxy
	l, err := plain.Listen(context.Background(), network, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		remedy = "end what uses it, or choose another address"
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; %s", name, cmp.Or(errors.Unwrap(err), err), remedy) // without the address
	}
	if isUnix {
		if err := permit(path, socket); err != nil {
			_ = l.Close()
			return nil, err
		}
	}
	return &listener{Listener: l, backlog: make(chan net.Conn, maxBacklog)}, nil
}

// removeStale removes the socket file of a process that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil // nothing is there; what else is wrong, listening tells
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket; remove it, or choose another address", path)
	}
	c, err := net.DialTimeout("unix", path, staleDial)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("something else listens on unix socket %s; end it, or choose another address", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil // removed meanwhile
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot tell whether unix socket %s is in use: %w", path, err)
	}
	return os.Remove(path)
}

// permit gives the socket file its mode and group.
func permit(path string, socket config.Socket) error {
	if socket.Group != "" {
		gid, err := address.GroupID(socket.Group)
		if err != nil {
			return fmt.Errorf("group of unix socket %s: %w; set --socket-group to a group of this machine", path, err)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("give unix socket %s to group %s: %w", path, socket.Group, err)
		}
	}
	return os.Chmod(path, socket.Mode)
}

// listener serves its backlog when it closes. Closing a socket resets the
// connections that wait in its backlog, and nginx never sends a start or stop
// again once it was sent. So Close accepts them all, and Accept returns them
// before net.ErrClosed. A TCP handshake under way at that moment may be lost;
// none is on a socket that systemd holds: it is closed like any other listener,
// and keeps its backlog.
type listener struct {
	net.Listener
	once    sync.Once
	backlog chan net.Conn // filled and closed by Close
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		if c, ok := <-l.backlog; ok {
			return c, nil
		}
	}
	return c, err
}

// Close stops listening, once.
func (l *listener) Close() (closed error) {
	l.once.Do(func() {
		defer close(l.backlog)
		// The listener's own closing takes until Accept has noticed, and clients
		// would connect meanwhile: a duplicate keeps the socket until it is empty.
		socket, err := l.Listener.(interface{ File() (*os.File, error) }).File()
		closed = l.Listener.Close()
		if err != nil {
			return
		}
		defer socket.Close()
		if rest, err := net.FileListener(socket); err == nil {
			l.drain(rest)
		}
	})
	return closed
}

// drain accepts what waits in the backlog of rest, then closes it. Meanwhile a
// least TTL that no packet of a client has keeps new TCP connections out: their
// first packet is dropped, so they try again a second later and are refused.
func (l *listener) drain(rest net.Listener) {
	setLeastTTL(rest, 255)
	for range maxBacklog {
		_ = rest.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(emptyAfter))
		c, err := rest.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err == nil { // else it is gone, or the machine is short of something
			setLeastTTL(c, 0) // inherited by a handshake that was under way
			l.backlog <- c
		}
	}
	_ = rest.Close()
}

// setLeastTTL needs Linux and no privilege (ip(7), IP_MINTTL); elsewhere, or
// where it fails, a handshake may still end between the last accept and the close.
func setLeastTTL(socket any, ttl int) {
	const ipMinTTL, ipv6MinHopCount = 21, 73
	if raw, err := socket.(syscall.Conn).SyscallConn(); err == nil && runtime.GOOS == "linux" {
		_ = raw.Control(func(socket uintptr) {
			_ = syscall.SetsockoptInt(int(socket), syscall.IPPROTO_IP, ipMinTTL, ttl)
			_ = syscall.SetsockoptInt(int(socket), syscall.IPPROTO_IPV6, ipv6MinHopCount, ttl)
		})
	}
}
