package bus

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waitLimit is how long a server may take to build and to listen.
const waitLimit = 2 * time.Minute

// freePort is a port of loopback that nothing listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// log is the output of a process that still runs.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve runs a command until the test ends and waits until it listens on port.
func serve(t testing.TB, c *exec.Cmd, port string) {
	t.Helper()
	logged := &log{}
	c.Stdout, c.Stderr = logged, logged
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run passes no signal on
	require.NoError(t, c.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // until the last of the group has closed the log
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		<-ended
	})
	deadline := time.After(waitLimit)
	for {
		connection, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			require.NoError(t, connection.Close())
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended\n%s", c, logged)
		case <-deadline:
			t.Fatalf("%s does not listen on %s\n%s", c, port, logged)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get returns the body of a reply that has to be 200.
func get(t testing.TB, url, token string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s: %s", url, body)
	return string(body)
}
