package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/internal/address"
	"github.com/busdk/bus-api-provider-vm/internal/config"
	"github.com/busdk/bus-api-provider-vm/tests/wire"
)

// socketPath is short enough for a socket address on every system.
func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

func listenUnixAt(path string) (net.Listener, error) {
	return Listen(address.UnixPrefix+path, config.Socket{Mode: 0o660})
}

// serveOnce answers one client of l, to show that the listener works.
func serveOnce(t *testing.T, l net.Listener) {
	t.Helper()
	client := wire.Dial(t, l.Addr())
	c, err := l.Accept()
	require.NoError(t, err)
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	assert.Equal(t, "hello", wire.Rest(t, client))
}

func TestListenUnix(t *testing.T) {
	own, err := user.LookupGroupId(strconv.Itoa(os.Getgid()))
	require.NoError(t, err)
	sockets := map[config.Socket]string{
		{Mode: 0o600}: own.Gid, {Mode: 0o660, Group: own.Name}: own.Gid, {Mode: 0o660, Group: own.Gid}: own.Gid, {Mode: 0o666}: own.Gid,
	}
	if os.Getuid() == 0 { // who alone may give it to a group that is not its own
		other, err := user.LookupGroupId("1")
		require.NoError(t, err)
		sockets[config.Socket{Mode: 0o660, Group: other.Name}] = other.Gid
	}
	for socket, gid := range sockets {
		path := socketPath(t)
		l, err := Listen(address.UnixPrefix+path, socket)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.ModeSocket|socket.Mode, info.Mode())
		assert.Equal(t, gid, fmt.Sprint(info.Sys().(*syscall.Stat_t).Gid))
		serveOnce(t, l)
		require.NoError(t, l.Close())
		assert.NoFileExists(t, path)
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("keep me"), 0o600))
	used := filepath.Join(dir, "used")
	owner, err := listenUnixAt(used)
	require.NoError(t, err)
	defer owner.Close()
	tcp, err := Listen("127.0.0.1:0", config.Socket{})
	require.NoError(t, err)
	defer tcp.Close()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(used, link))
	orphan := filepath.Join(dir, "orphan")

	for _, c := range []struct {
		name, addr string
		want       []string
	}{
		{"another listens on the socket", address.UnixPrefix + used, []string{"something else listens on unix socket " + used, "end it, or choose another address"}},
		{"a file of another kind", address.UnixPrefix + file, []string{file + " exists and is no socket", "remove it"}},
		{"a symbolic link", address.UnixPrefix + link, []string{link + " exists and is no socket"}},
		{"a directory", address.UnixPrefix + dir, []string{dir + " exists and is no socket"}},
		{"no such directory", address.UnixPrefix + filepath.Join(dir, "no", "s"), []string{"listen on unix socket " + filepath.Join(dir, "no", "s") + ": bind: no such file or directory; its directory must exist"}},
		{"below a file", address.UnixPrefix + filepath.Join(file, "s"), []string{"not a directory"}},
		{"too long", address.UnixPrefix + filepath.Join(dir, strings.Repeat("x", 200)), []string{"listen on unix socket", "invalid argument"}},
		{"no such group", address.UnixPrefix + orphan, []string{"group of unix socket " + orphan, "no-such-group"}},
		{"the address in use", tcp.Addr().String(), []string{"listen on " + tcp.Addr().String() + ": bind: address already in use; end what uses it, or choose another address"}},
		{"an address of another machine", "192.0.2.1:0", []string{"listen on 192.0.2.1:0: bind: cannot assign requested address; choose an address of this machine"}},
		{"no address", "127.0.0.1", []string{"listen on 127.0.0.1: ", "missing port"}},
		{"no such port", "127.0.0.1:65536", []string{"listen on 127.0.0.1:65536: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := Listen(c.addr, config.Socket{Group: "no-such-group"})
			if !assert.Error(t, err) {
				_ = l.Close()
				return
			}
			for _, text := range c.want {
				assert.ErrorContains(t, err, text)
			}
		})
	}
	assert.NoFileExists(t, orphan, "a socket without its group is removed")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "keep me", string(content))

	probe, err := owner.Accept() // the look whether a process answers
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	serveOnce(t, owner) // and the first listener goes on
}

// Clients that wait in the backlog when the listener closes are accepted after
// it; then comes net.ErrClosed, and new clients are refused.
func TestCloseServesTheBacklog(t *testing.T) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": address.UnixPrefix + socketPath(t)} {
		t.Run(network, func(t *testing.T) {
			l, err := Listen(addr, config.Socket{Mode: 0o660})
			require.NoError(t, err)
			clients := make([]net.Conn, 30)
			for i := range clients {
				clients[i] = wire.Dial(t, l.Addr())
				wire.Send(t, clients[i], strconv.Itoa(i))
			}
			first, err := l.Accept()
			require.NoError(t, err)
			require.NoError(t, l.Close())
			require.NoError(t, l.Close(), "closing twice is closing once")
			assert.True(t, refused(l.Addr()))

			accepted := []net.Conn{first}
			for {
				c, err := l.Accept()
				if err != nil {
					require.ErrorIs(t, err, net.ErrClosed)
					break
				}
				accepted = append(accepted, c)
			}
			require.Len(t, accepted, len(clients))
			for i, c := range accepted {
				b := make([]byte, 2)
				n, err := c.Read(b)
				require.NoError(t, err)
				require.Equal(t, strconv.Itoa(i), string(b[:n]))
				_, err = c.Write([]byte("answered"))
				require.NoError(t, err)
				require.NoError(t, c.Close())
				assert.Equal(t, "answered", wire.Rest(t, clients[i]))
			}
			_, err = l.Accept()
			assert.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

// starved is a listener that fails while it is short of something.
type starved struct {
	net.Listener
	short  atomic.Bool
	closed atomic.Bool
}

func (l *starved) Accept() (net.Conn, error) {
	switch {
	case l.closed.Load():
		return nil, net.ErrClosed
	case l.short.Load():
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	c, _ := net.Pipe()
	return c, nil
}

func (l *starved) Addr() net.Addr { return &net.TCPAddr{} }

func (l *starved) Close() error {
	l.closed.Store(true)
	return nil
}

// Accept returns soon after there is something to accept, and after it is closed;
// one line tells of all failures that follow each other within a minute.
func TestKeepAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		set := metrics.NewSet()
		inner := &starved{}
		l := KeepAccepting(inner, "api", slog.New(slog.NewTextHandler(&logged, nil)), set)
		spell := func(lasts time.Duration) {
			inner.short.Store(true)
			time.AfterFunc(lasts, func() { inner.short.Store(false) })
			began := time.Now()
			_, err := l.Accept()
			require.NoError(t, err)
			assert.LessOrEqual(t, time.Since(began), lasts+longestPause)
		}
		for range 3 {
			spell(2 * time.Minute)
			time.Sleep(calm / 2)
		}
		assert.Equal(t, 1, strings.Count(logged.String(), "cannot accept connections"))
		time.Sleep(calm)
		spell(time.Second)
		assert.Equal(t, 2, strings.Count(logged.String(), "cannot accept connections"), "%s", &logged)
		assert.Contains(t, logged.String(), `cause="accept: too many open files" do="raise the limit of open files`)
		failures := l.(*accepting).failures.Get()
		assert.Greater(t, failures, uint64(1000))
		assert.Less(t, failures, uint64(6*60*1000/100), "it pauses")

		inner.short.Store(true)
		time.AfterFunc(time.Minute, func() { assert.NoError(t, l.Close()) })
		began := time.Now()
		_, err := l.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.LessOrEqual(t, time.Since(began), time.Minute+longestPause)
	})
}
