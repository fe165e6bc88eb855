package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

// seen is one request as it arrived at an upstream.
type seen struct {
	Method string
	// Place counts the requests of its connection, from 1 on.
	Place int
}

// upstream is a server behind nginx that records what arrives.
type upstream struct {
	addr     string
	requests chan seen
}

type placeKey struct{}

// startUpstream serves until the test ends, and has no connection left then.
func startUpstream(t testing.TB, answer http.HandlerFunc) *upstream {
	t.Helper()
	requests := make(chan seen, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		place := r.Context().Value(placeKey{}).(*int) // one request at a time on a connection
		*place++
		requests <- seen{r.Method, *place}
		answer(w, r)
	}))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, placeKey{}, new(int))
	}
	s.Start()
	t.Cleanup(s.Close) // nginx, which was started later, has already ended
	return &upstream{s.Listener.Addr().String(), requests}
}

// take returns what has arrived since the last call.
func (u *upstream) take() (taken []seen) {
	for len(u.requests) > 0 {
		taken = append(taken, <-u.requests)
	}
	return taken
}

// dies closes the connection instead of answering.
func dies(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// answers replies and keeps the connection, also where it should not be used
// again.
func answers(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }

// begins dies in the middle of its reply.
func begins(w http.ResponseWriter, _ *http.Request) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_, _ = io.WriteString(c, "HTTP/1.1 202 Acce")
		_ = c.Close()
	}
}

// A write whose upstream dies once it has the request is sent exactly once; a
// read moves on. The reads show that this test would see a second sending.
func TestNginxSendsAWriteOnce(t *testing.T) {
	t.Parallel()
	for name, deadly := range map[string]http.HandlerFunc{"dies": dies, "begins a reply": begins} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := startUpstream(t, deadly), startUpstream(t, deadly)
			nginx := startNginx(t, a.addr, b.addr)
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
	nginx := startNginx(t, harness.FreeAddress(t), alive.addr)
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
	nginx := startNginx(t, alive.addr)
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
