package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// livePatience bounds the question who listens already.
const livePatience = 2 * time.Second

func (c Config) address(ctx context.Context) []Check {
	return c.listener(ctx, "address", "--addr", c.Addr)
}

func (c Config) adminAddress(ctx context.Context) []Check {
	if c.Admin == "" {
		return ok("admin address", "off: nothing can watch this service")
	}
	return c.listener(ctx, "admin address", "--admin-addr", c.Admin)
}

// listener looks whether addr can be listened on, or is by this service.
func (c Config) listener(ctx context.Context, name, flag, addr string) []Check {
	if path, isUnix := address.Socket(addr); isUnix {
		return c.unixSocket(ctx, name, flag, path)
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		_ = l.Close()
		return ok(name, addr+" is free")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return inUse(ctx, name, flag, "tcp", addr)
	}
	return []Check{{name, Failed, cause(err), "choose an address of this machine as " + flag + ", and a port that this user may use"}}
}

// inUse tells this service from another that has the address.
func inUse(ctx context.Context, name, flag, network, addr string) []Check {
	if answersLive(ctx, network, addr) {
		return ok(name, addr+" is in use by a service that is alive, probably this one")
	}
	return []Check{{name, Failed, addr + " is in use by something that is not this service", "end what uses it, or choose another " + flag}}
}

// answersLive asks for /livez as any probe would.
func answersLive(ctx context.Context, network, addr string) bool {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	ctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/livez", nil)
	if err != nil {
		return false
	}
	reply, err := transport.RoundTrip(request)
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	const document = `{"ok":true}`
	body, err := io.ReadAll(io.LimitReader(reply.Body, int64(len(document)+1)))
	return err == nil && strings.TrimSpace(string(body)) == document
}

// unixSocket looks at the directory of a socket, at what stands in its place,
// and at who will be able to connect.
func (c Config) unixSocket(ctx context.Context, name, flag, path string) []Check {
	dir := filepath.Dir(path)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return []Check{{name, Failed, fmt.Sprintf("no socket can be made in %s: %v", dir, err),
			"make the directory and give it to the user of the service, or use RuntimeDirectory= of systemd"}}
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return []Check{{name, Failed, err.Error(), "make the directory readable for the user of the service"}}
	case info.Mode().Type() != fs.ModeSocket:
		return []Check{{name, Failed, path + " exists and is no socket", "remove it, or choose another " + flag}}
	default:
		if connection, err := net.DialTimeout("unix", path, livePatience); err == nil {
			_ = connection.Close()
			if found := inUse(ctx, name, flag, "unix", path); found[0].Status == Failed {
				return found
			}
		}
	}
	return orOK(c.socketAccess(name, path), name, fmt.Sprintf("%s, mode %04o", path, c.Socket.Mode))
}

// socketAccess looks at the group and mode that the socket is going to have.
func (c Config) socketAccess(name, path string) (found []Check) {
	const groupMayConnect, allMayConnect = 0o020, 0o002
	group, own := os.Getegid(), "the group of the service"
	if c.Socket.Group != "" {
		own = "group " + c.Socket.Group
		var err error
		if group, err = c.Socket.GroupID(c.Socket.Group); err != nil {
			return []Check{{name, Failed, err.Error(), "correct --socket-group: it is the group that nginx runs with"}}
		}
		if groups, err := os.Getgroups(); err == nil && os.Geteuid() != 0 && group != os.Getegid() && !slices.Contains(groups, group) {
			found = append(found, Check{name, Failed, "the user of the service is not in " + own + ", so it may not give the socket to it",
				"add SupplementaryGroups=" + c.Socket.Group + " to the unit, or the user to the group"})
		}
	}
	switch {
	case c.Socket.Mode&allMayConnect != 0:
		found = append(found, Check{name, Warning, fmt.Sprintf("mode %04o lets every user of this machine connect", c.Socket.Mode), "use --socket-mode 0660 and --socket-group"})
	case c.Socket.Mode&groupMayConnect == 0:
		found = append(found, Check{name, Warning, fmt.Sprintf("mode %04o keeps %s from connecting", c.Socket.Mode, own), "use --socket-mode 0660"})
	}
	if dir := closedTo(filepath.Dir(path), group); dir != "" {
		found = append(found, Check{name, Warning, own + " cannot reach the socket: it may not enter " + dir, "chmod o+x " + dir + ", or give the directory to that group"})
	}
	return found
}

// closedTo is the first directory on the way to dir that group may not enter,
// empty for none.
func closedTo(dir string, group int) string {
	const groupEnters, allEnter = 0o010, 0o001
	parent := filepath.Dir(dir)
	if parent != dir {
		if closed := closedTo(parent, group); closed != "" {
			return closed
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	mode := info.Mode().Perm()
	owner, known := info.Sys().(*syscall.Stat_t)
	if mode&allEnter != 0 || mode&groupEnters != 0 && known && int(owner.Gid) == group {
		return ""
	}
	return dir
}

// cause is an error of package net without the words around it.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return op.Addr.String() + ": " + op.Err.Error()
	}
	return err.Error()
}
