package containers

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// network is one that knows loopback only. All containers of a project share
// it, so each port of theirs has to be another one.
type network struct{ holder *exec.Cmd }

func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity")}
	said := &logged{}
	n.holder.Stdout, n.holder.Stderr = said, said
	require.NoError(t, n.holder.Start())
	t.Cleanup(func() {
		_ = n.holder.Process.Kill()
		_ = n.holder.Wait() // it is killed
	})
	eventually(t, "a network", said.String, func() bool { return said.String() == "up\n" })
	return n
}

func (n *network) path() string { return fmt.Sprintf("/proc/%d/ns/net", n.holder.Process.Pid) }

// dial connects inside the network. The thread that went there is not used for
// anything else: it ends with its goroutine.
func (n *network) dial(addr string) (connection net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var inside int
		if inside, err = unix.Open(n.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(inside)
		if err = unix.Setns(inside, unix.CLONE_NEWNET); err != nil {
			return
		}
		connection, err = net.Dial("tcp", addr)
	}()
	<-done
	return connection, err
}

// publish passes connections to a listener on to a port inside, as an engine
// does with `ports:`, until the test ends.
func (n *network) publish(t testing.TB, listener net.Listener, port uint32) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			outside, err := listener.Accept()
			if err != nil {
				return // closed
			}
			passing.Go(func() { n.pass(ctx, outside, fmt.Sprintf("127.0.0.1:%d", port)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		cancel()
		passing.Wait()
	})
}

func (n *network) pass(ctx context.Context, outside net.Conn, addr string) {
	defer outside.Close()
	inside, err := n.dial(addr)
	if err != nil {
		return // the client sees its connection closed
	}
	defer inside.Close()
	defer context.AfterFunc(ctx, func() {
		_ = outside.Close()
		_ = inside.Close()
	})()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(outside, inside)
		_ = outside.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(inside, outside)
	_ = inside.(*net.TCPConn).CloseWrite()
	back.Wait()
}
