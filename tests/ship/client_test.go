//go:build ship

package ship

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	secret  = "the secret of the shipping tests, 44 bytes long"
	account = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

	// patience bounds every wait for another process.
	patience  = 30 * time.Second
	pollEvery = 10 * time.Millisecond
)

// eventually polls until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s", patience, what)
		case <-tick.C:
		}
	}
}

// client calls a gateway as one caller.
type client struct {
	http        *http.Client
	base, token string
}

// answer is a reply; status 0 for none.
type answer struct {
	status int
	body   string
}

// clientOf reaches host:port or the path of a unix socket.
func clientOf(addr, token string) client {
	transport := &http.Transport{DisableKeepAlives: true}
	base := "http://" + addr
	if strings.HasPrefix(addr, "/") {
		base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", addr)
		}
	}
	return client{&http.Client{Transport: transport, Timeout: patience}, base, token}
}

func (c client) get(path string) answer  { return c.call(http.MethodGet, path) }
func (c client) post(path string) answer { return c.call(http.MethodPost, path) }

func (c client) call(method, path string) answer {
	request, err := http.NewRequest(method, c.base+path, nil)
	if err != nil {
		return answer{body: err.Error()}
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	reply, err := c.http.Do(request)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{reply.StatusCode, string(body)}
}

// logged is what a process writes, readable while it runs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// onlyChild is the process that a wrapper such as strace started.
func onlyChild(t testing.TB, parent int) *os.Process {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	require.NoError(t, err)
	children := strings.Fields(string(text))
	require.Len(t, children, 1)
	id, err := strconv.Atoi(children[0])
	require.NoError(t, err)
	child, err := os.FindProcess(id)
	require.NoError(t, err)
	return child
}
