package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// seen is one request as it arrived at an upstream.
type seen struct {
	Method string
	// Place counts the requests of its connection, from 1 on.
	Place int
}

// upstream is a raw server behind nginx that records what arrives.
type upstream struct {
	listener net.Listener
	// answer returns false to drop the connection without a reply.
	answer func(method string, w io.Writer) bool

	mu       sync.Mutex
	requests []seen
}

// startUpstream serves until the test ends, and has no connection left then.
func startUpstream(t testing.TB, answer func(method string, w io.Writer) bool) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u := &upstream{listener: l, answer: answer}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				u.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait() // nginx, which was started later, has already ended
	})
	return u
}

func (u *upstream) serve(c net.Conn) {
	reader := bufio.NewReader(c)
	for place := 1; ; place++ {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		u.mu.Lock()
		u.requests = append(u.requests, seen{r.Method, place})
		u.mu.Unlock()
		if !u.answer(r.Method, c) {
			return
		}
	}
}

// take returns what has arrived since the last call.
func (u *upstream) take() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.requests
	u.requests = nil
	return taken
}

func dies(string, io.Writer) bool { return false }

// answers replies and keeps the connection, also where it should not be used
// again.
func answers(method string, w io.Writer) bool {
	reply := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
	if method != http.MethodHead {
		reply += "{}"
	}
	_, err := io.WriteString(w, reply)
	return err == nil
}

// begins dies in the middle of its reply.
func begins(_ string, w io.Writer) bool {
	_, _ = io.WriteString(w, "HTTP/1.1 202 Acce")
	return false
}

// A write whose upstream dies once it has the request is sent exactly once; a
// read moves on. The reads show that this test would see a second sending.
func TestNginxSendsAWriteOnce(t *testing.T) {
	t.Parallel()
	for name, deadly := range map[string]func(string, io.Writer) bool{"dies": dies, "begins a reply": begins} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := startUpstream(t, deadly), startUpstream(t, deadly)
			nginx := startNginx(t, a.listener.Addr().String(), b.listener.Addr().String())
			arrived := func() []seen { return append(a.take(), b.take()...) }
			for _, path := range []string{startPath, stopPath, startPath, stopPath} {
				require.Regexp(t, "^502 ", ask(t, nginx, withBody("POST "+path, "x", "{}")))
				require.Equal(t, []seen{{"POST", 1}}, arrived())
			}
			require.Regexp(t, "^502 ", ask(t, nginx, request("GET "+statusPath, "x")))
			require.Equal(t, []seen{{"GET", 1}, {"GET", 1}}, arrived())
		})
	}
}

// A refused connection is no sending: the write goes to who is there.
func TestNginxMovesOnFromARefusedConnection(t *testing.T) {
	t.Parallel()
	alive := startUpstream(t, answers)
	nginx := startNginx(t, freeAddress(t), alive.listener.Addr().String())
	for range 6 {
		require.Regexp(t, "^200 ", ask(t, nginx, request("POST "+startPath, "x")))
		require.Equal(t, []seen{{"POST", 1}}, alive.take())
		require.Regexp(t, "^200 ", ask(t, nginx, request("GET "+statusPath, "x")))
		require.Len(t, alive.take(), 1)
	}
}

// Writes never go over a connection that was used before, reads do.
func TestNginxGivesEachWriteItsOwnConnection(t *testing.T) {
	t.Parallel()
	alive := startUpstream(t, answers)
	nginx := startNginx(t, alive.listener.Addr().String())
	c := dial(t, nginx) // one worker of nginx serves it, with one set of idle connections
	for range 5 {
		for _, line := range []string{"GET " + statusPath, "POST " + startPath, "HEAD /readyz", "POST " + stopPath} {
			got, err := c.send(request(line, "x")).reply(strings.Fields(line)[0])
			require.NoError(t, err)
			require.Regexp(t, "^200 ", got)
		}
	}
	reused := 0
	for _, r := range alive.take() {
		if r.Method == "POST" {
			require.Equal(t, 1, r.Place)
		} else if r.Place > 1 {
			reused++
		}
	}
	require.Greater(t, reused, 3)
}
