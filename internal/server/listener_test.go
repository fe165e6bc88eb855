package server

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/busdk/bus-api-provider-vm/internal/address"
)

// Between turning clients away and closing, nobody comes in, and who was there
// already is served.
func TestClosingLetsNobodyInAndLosesNobody(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", address.UnixPrefix + socketPath(t)} {
		opened, err := Listen(ListenConfig{Addr: addr, SocketMode: 0o600})
		require.NoError(t, err)
		l := opened.(*listener)
		network := l.Addr().Network()
		early, err := net.Dial(network, l.Addr().String())
		require.NoError(t, err)
		defer early.Close()

		socket, err := duplicate(l.Listener)
		require.NoError(t, err)
		defer unix.Close(socket)
		turnAway(socket, network)
		const soon = 100 * time.Millisecond // TCP drops, a unix socket refuses
		_, err = net.DialTimeout(network, l.Addr().String(), soon)
		require.Error(t, err, network)

		require.NoError(t, l.Close())
		served, err := l.Accept()
		require.NoError(t, err, network)
		_, err = served.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, served.Close())
		reply := make([]byte, 2)
		n, err := early.Read(reply)
		require.NoError(t, err, network)
		require.Equal(t, "x", string(reply[:n]))
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	}
}

// A socket that systemd holds goes on for the next process, backlog included.
func TestClosingAnAdoptedListenerLeavesItsSocket(t *testing.T) {
	systemd, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer systemd.Close()
	file, err := systemd.(*net.TCPListener).File()
	require.NoError(t, err)
	inherited, err := net.FileListener(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	early, err := net.Dial("tcp", systemd.Addr().String())
	require.NoError(t, err)
	defer early.Close()
	require.NoError(t, Adopt(inherited).Close())
	late, err := net.Dial("tcp", systemd.Addr().String())
	require.NoError(t, err)
	defer late.Close()
	for _, client := range []net.Conn{early, late} {
		c, err := systemd.Accept()
		require.NoError(t, err)
		require.Equal(t, client.LocalAddr(), c.RemoteAddr())
		require.NoError(t, c.Close())
	}
}
