// Package harness is what the suites share that run programs and watch them from
// outside.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// WaitLimit bounds every wait for another process. It is long because machines
// are slow at times; nothing that is well waits for all of it.
const WaitLimit = time.Minute

const pollEvery = 5 * time.Millisecond

// Eventually polls until ok, and fails the test with what is shown when that
// takes too long. It is for what nothing signals: the inside of another process.
func Eventually(t testing.TB, what string, ok func() bool, shown ...any) {
	t.Helper()
	deadline := time.NewTimer(WaitLimit)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s %s", WaitLimit, what, shown)
		case <-tick.C:
		}
	}
}

// Needs skips a test on a machine without a program, so that `go test ./...`
// passes with nothing but Go. With CI=true, where it counts, it fails.
func Needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		require.Empty(t, os.Getenv("CI"), "CI is set and %s is not in PATH; install it", program)
		t.Skip(err)
	}
}

// Output collects what a process writes, and is readable while it runs.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// FreeAddress is an address of loopback that was free a moment ago, and that the kernel
// gives to no connection (ip_local_port_range): it is free again after a restart.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, l.Close())
		return l.Addr().String()
	}
}

// Dial connects to host:port, or to the path of a unix socket.
func Dial(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	return (&net.Dialer{Timeout: WaitLimit}).DialContext(ctx, network, addr)
}

// Get asks for a path on a connection of its own, with a token unless that is
// empty.
func Get(t testing.TB, addr, path, token string) (status int, body string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return Dial(ctx, addr)
	}}
	request, err := http.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport, Timeout: WaitLimit}).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}
