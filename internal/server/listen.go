package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// staleDial bounds the look whether somebody still answers on a unix socket.
const staleDial = time.Second

// ListenConfig says where to listen.
type ListenConfig struct {
	// Addr is host:port, or unix:/path.
	Addr string
	// SocketMode and SocketGroup are given to a unix socket, so that nginx
	// may connect; an empty group leaves the process's own.
	SocketMode  os.FileMode
	SocketGroup string
}

// Listen opens the listener. A unix socket that a dead process left behind is
// replaced; one that somebody answers on is an error.
func Listen(config ListenConfig) (net.Listener, error) {
	path, isUnix := address.Socket(config.Addr)
	if !isUnix {
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // see turnAway
		l, err := plain.Listen(context.Background(), "tcp", config.Addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", config.Addr, withRemedy(err))
		}
		return newListener(l), nil
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on unix socket %s: %w; its directory must exist and be writable for this user", path, withoutAddress(err))
	}
	if err := grant(path, config); err != nil {
		_ = l.Close()
		return nil, err
	}
	return newListener(l), nil
}

// withRemedy says what to do about an error of listening on host:port.
func withRemedy(err error) error {
	err = withoutAddress(err)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; end what uses it, or choose another address", err)
	}
	return fmt.Errorf("%w; choose an address of this machine, and a port that this user may use", err)
}

// withoutAddress is an error of net without the address, which ours begin with.
func withoutAddress(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// removeStale removes the socket file of a process that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at unix socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket; remove it, or choose another address", path)
	}
	c, err := net.DialTimeout("unix", path, staleDial)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("another process listens on unix socket %s; end it, or choose another address", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether unix socket %s is in use: %w", path, err)
	}
	return os.Remove(path)
}

// grant gives the socket file its mode and group.
func grant(path string, config ListenConfig) error {
	if config.SocketGroup != "" {
		gid, err := address.GroupID(config.SocketGroup)
		if err != nil {
			return fmt.Errorf("group of unix socket %s: %w; set --socket-group to a group of this machine", path, err)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("give unix socket %s to group %s: %w", path, config.SocketGroup, err)
		}
	}
	if err := os.Chmod(path, config.SocketMode); err != nil {
		return fmt.Errorf("set the mode of unix socket %s: %w", path, err)
	}
	return nil
}
