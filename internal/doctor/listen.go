package doctor

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
)

// liveTimeout bounds the question whether this service listens already.
const liveTimeout = 2 * time.Second

func (s Service) addresses(_ context.Context, r *Report) {
	s.listener(r, "address", s.Addr, s.Socket)
	if s.Admin.Addr == "" {
		r.ok(adminAddress, "off: nothing can watch this service")
		return
	}
	s.listener(r, adminAddress, s.Admin.Addr, config.AdminSocket)
}

const adminAddress = "admin address"

// listener examines whether the service can listen on addr, or does already.
func (s Service) listener(r *Report, name, addr string, socket config.Socket) {
	path, isUnix := address.Socket(addr)
	if answersLive(addr) {
		if isUnix {
			socketAccess(r, name, path)
		}
		r.ok(name, addr+" is in use by a service that is alive, probably this one")
		return
	}
	tried, place := addr, path
	if isUnix {
		info, err := os.Lstat(path)
		if err == nil && info.Mode().Type() != fs.ModeSocket {
			r.fail(name, path+" exists and is no socket", "remove it, or choose another address")
			return
		}
		if c, err := net.DialTimeout("unix", path, liveTimeout); err == nil { // else a dead process left it, or nothing is there
			_ = c.Close()
			r.fail(name, "another process listens on unix socket "+path, "end it, or choose another address")
			return
		}
		// Beside its place: the service may be starting, and listen there.
		place = filepath.Join(filepath.Dir(path), fmt.Sprintf(".doctor%x", rand.Uint32()))
		tried = address.UnixPrefix + place
	}
	l, err := s.Listen(tried, socket)
	if err != nil {
		detail, do := advice(strings.ReplaceAll(err.Error(), place, path), "run this as the user of the service, who must be in the group that the socket is given to")
		r.fail(name, detail, do)
		return
	}
	if isUnix {
		socketAccess(r, name, place)
	}
	r.ok(name, addr+" is free")
	_ = l.Close()
}

// answersLive asks for /livez as any probe would.
func answersLive(addr string) bool {
	reply, err := address.Client(addr, liveTimeout).Get("http://localhost/livez")
	if err != nil {
		return false
	}
	defer reply.Body.Close()
	const document = `{"ok":true}`
	body, err := io.ReadAll(io.LimitReader(reply.Body, int64(len(document)+1)))
	return err == nil && strings.TrimSpace(string(body)) == document
}

// socketAccess examines whether nginx, in the group of the API's socket, may
// connect to it, and who else; and whether anyone but its user may to operators'.
func socketAccess(r *Report, name, path string) {
	const groupConnects, allConnect, groupEnters, allEnter fs.FileMode = 0o020, 0o002, 0o010, 0o001
	socket, err := os.Stat(path)
	if err != nil {
		return // removed meanwhile
	}
	mode, group := socket.Mode().Perm(), socket.Sys().(*syscall.Stat_t).Gid
	switch {
	case name == adminAddress:
		if mode&(groupConnects|allConnect) != 0 {
			r.warn(name, fmt.Sprintf("mode %04o lets others than the service's user connect, and nothing there asks for a token", mode), "restart the service")
		}
		return
	case mode&allConnect != 0:
		r.warn(name, fmt.Sprintf("mode %04o lets every user of this machine connect", mode), "use --socket-mode 0660 and --socket-group")
	case mode&groupConnects == 0:
		r.warn(name, fmt.Sprintf("mode %04o keeps the group of the socket from connecting", mode), "use --socket-mode 0660")
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode()&allEnter == 0 && (info.Mode()&groupEnters == 0 || info.Sys().(*syscall.Stat_t).Gid != group) {
			r.warn(name, fmt.Sprintf("group %d cannot reach the socket: it may not enter %s", group, dir),
				"chmod o+x "+dir+", or give the directory to that group")
		}
		if dir == filepath.Dir(dir) {
			return
		}
	}
}
