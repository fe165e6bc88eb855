package server

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listener hands out connections that can linger, and closes without losing a
// client. Closing a socket resets whatever waits in its backlog, and nginx does
// not send a start or stop again after a reset. So Close first lets nobody in,
// then takes out who is there, and only then closes.
type listener struct {
	net.Listener
	shared bool // another process holds the socket too, and its backlog
	once   sync.Once
	rescue chan net.Conn // filled and closed by Close
	closed error
}

const (
	// maxRescued bounds the connections taken out of the backlog; Linux keeps
	// fewer than this by default (net.core.somaxconn).
	maxRescued = 4096
	// handshakeTime is left to handshakes under way when TCP clients are turned
	// away: some round trips to an nginx that is near.
	handshakeTime = 2 * time.Millisecond
)

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, rescue: make(chan net.Conn, maxRescued)}
}

// Adopt wraps a listener whose socket somebody else opened and holds, such as
// systemd. Closing it leaves the backlog to the next who listens there.
func Adopt(l net.Listener) net.Listener {
	adopted := newListener(l)
	adopted.shared = true
	return adopted
}

// Accept returns the next connection; after Close those that Close rescued,
// then net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		return &conn{Conn: c}, nil
	}
	// A unix socket that turns clients away says EINVAL shortly before it closes.
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	if c, ok := <-l.rescue; ok {
		return &conn{Conn: c}, nil
	}
	return nil, net.ErrClosed
}

// Close stops listening, once.
func (l *listener) Close() error {
	l.once.Do(func() {
		defer close(l.rescue)
		if l.shared {
			l.closed = l.Listener.Close()
			return
		}
		// The socket lives on in a duplicate. The listener's own closing lasts
		// until Accept has noticed, and clients would come in meanwhile.
		socket, err := duplicate(l.Listener)
		if err != nil {
			l.closed = l.Listener.Close()
			return
		}
		turnAway(socket, l.Addr().Network())
		l.closed = l.Listener.Close()
		l.drain(socket)
		_ = unix.Close(socket)
	})
	return l.closed
}

// duplicate returns another descriptor of the socket that l listens on.
func duplicate(l net.Listener) (fd int, err error) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return -1, errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(failed, err)
}

// turnAway keeps new clients out of a listening socket and leaves those in its
// backlog alone. A unix socket refuses them from here on. TCP has no such
// state: packets that open a connection are dropped, so their senders try again
// a second later and find the port closed. Where that fails, the old gap of
// some microseconds remains.
func turnAway(socket int, network string) {
	if network == "unix" {
		_ = unix.Shutdown(socket, unix.SHUT_RD)
		return
	}
	// A TCP socket's filter sees the header of each segment (socket(7)).
	const (
		flagsAt  = 13
		synOrAck = 0x12
		syn      = 0x02
		keep     = 0xffff // bytes
	)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flagsAt},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synOrAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: keep},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if unix.SetsockoptSockFprog(socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter) == nil {
		time.Sleep(handshakeTime)
	}
}

// drain accepts what waits in the backlog, without waiting itself.
func (l *listener) drain(socket int) {
	for range maxRescued {
		fd, _, err := unix.Accept4(socket, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		if c, err := fileConn(fd); err == nil {
			l.rescue <- c
		}
	}
}

func fileConn(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "rescued connection")
	defer file.Close() // net.FileConn works on a duplicate
	return net.FileConn(file)
}
