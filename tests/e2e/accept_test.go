package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
)

const cannotAccept = "cannot accept connections"

// Whatever accept fails with, on either listener, the process goes on: it says so
// once for each listener, counts, and answers who waited.
func TestAcceptFails(t *testing.T) {
	t.Parallel()
	harness.Needs(t, "strace")
	for errno, remedy := range map[string]string{
		"EMFILE": "LimitNOFILE", "ENFILE": "fs.file-max", "ENOBUFS": "memory", "ENOMEM": "memory",
		"EPROTO": "", "EPERM": "", "EINVAL": "", "ENETDOWN": "", "EIO": "",
		"ECONNABORTED": "", // net tries again by itself
	} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			g, admin := serveAdmin(t, nil)
			stop := inject(t, g.process, "accept4:error="+errno)
			api, operator := dial(t, g.addr).send(request("GET /readyz", "")), dial(t, admin).send(request("GET /livez", ""))
			if errno != "ECONNABORTED" {
				harness.Eventually(t, "both say so", func() bool { return strings.Count(g.stderr.String(), cannotAccept) == 2 }, g.stderr)
			}
			stop()
			api.expect(t, "GET", okReady)
			line, err := operator.reader.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "HTTP/1.1 200 OK\r\n", line)
			if errno == "ECONNABORTED" {
				return
			}
			_, samples := harness.Get(t, admin, "/metrics", "")
			for _, listener := range []string{"api", "admin"} {
				require.Regexp(t, `\nbus_vm_accept_failures_total\{listener="`+listener+`"\} [1-9]`, samples)
				lines := regexp.MustCompile(`(?m)^.*`+cannotAccept+`.* listener=`+listener+` .*$`).FindAllString(g.stderr.String(), -1)
				require.Len(t, lines, 1)
				require.Contains(t, lines[0], "level=ERROR")
				require.Contains(t, lines[0], remedy)
				require.Regexp(t, ` cause=.+ do=.+`, lines[0])
			}
		})
	}
}

// inject attaches strace to a process, whose system calls fail until stop.
func inject(t testing.TB, p *process, what string) (stop func()) {
	t.Helper()
	trace := exec.Command("strace", "-f", "-p", strconv.Itoa(p.command.Process.Pid), "-o", os.DevNull,
		"-e", "trace=accept4", "-e", "inject="+what)
	var said harness.Output
	trace.Stderr = &said
	require.NoError(t, trace.Start())
	stop = sync.OnceFunc(func() {
		_ = trace.Process.Signal(os.Interrupt)
		_ = trace.Wait()
	})
	t.Cleanup(stop)
	harness.Eventually(t, "strace is attached", func() bool { return bytes.Contains([]byte(said.String()), []byte("attached")) }, &said)
	return stop
}

// With every file that it may open taken by idle connections, the process
// serves those that it has, feeds its watchdog, and accepts again when there is
// room. It has warned of that at its start.
func TestOpenFilesRunOut(t *testing.T) {
	t.Parallel()
	const files = 64
	m := harness.NewManager(t)
	g := &gateway{process: launch(t, nil, m.Env(
		"BUS_VM_JWT_SECRET="+jwtSecret, "BUS_VM_ADDR=127.0.0.1:0", "BUS_VM_ADMIN_ADDR=127.0.0.1:0", "WATCHDOG_USEC=1000000",
	), "/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0"`, files), harness.Gateway(t))}
	t.Cleanup(func() { g.stop(t) })
	await(t, g)
	require.Regexp(t, `level=WARN msg="the limit of open files \(64\) is below .*server.max_connections \(16384\).*LimitNOFILE`, g.stderr.String())

	kept := dial(t, g.addr).send(request("GET /readyz", ""))
	kept.expect(t, "GET", okReady)
	var idle []*connection
	for range files + 16 {
		idle = append(idle, dial(t, g.addr))
	}
	harness.Eventually(t, "no file is left", func() bool { return strings.Contains(g.stderr.String(), cannotAccept) })
	for fed := 0; fed < 4; {
		if m.Next(t) == "WATCHDOG=1" {
			fed++
		}
		kept.send(request("GET /readyz", "")).expect(t, "GET", okReady)
	}
	for _, c := range idle {
		require.NoError(t, c.Close())
	}
	require.Equal(t, okReady, ask(t, g.addr, request("GET /readyz", "")))
	require.Equal(t, 1, strings.Count(g.stderr.String(), cannotAccept), "%s", g.stderr)
}

// The admin listener holds so many connections and no more, and serves again
// when some have ended.
func TestAdminConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	const bound, more = 64, 36
	g, admin := serveAdmin(t, nil)
	before := openFiles(t, g.process)
	var clients []*connection
	for range bound + more {
		clients = append(clients, dial(t, admin))
	}
	for _, c := range clients[bound:] {
		c.closes(t)
	}
	require.InDelta(t, before+bound, openFiles(t, g.process), 5)
	for _, c := range clients {
		require.NoError(t, c.Close())
	}
	harness.Eventually(t, "it serves again", func() bool {
		reply, err := http.Get("http://" + admin + "/livez")
		if err != nil { // some have not ended yet
			return false
		}
		require.NoError(t, reply.Body.Close())
		return reply.StatusCode == http.StatusOK
	})
}

func openFiles(t testing.TB, p *process) int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), "fd"))
	require.NoError(t, err)
	return len(files)
}

// However many silent connections there are, each beyond the limit gets the
// envelope, the watchdog is fed, and who was there before is served.
func TestSilentConnectionsBeyondTheLimit(t *testing.T) {
	t.Parallel()
	const limit, silent = 10, 200
	m := harness.NewManager(t)
	g := serve(t, m.Env("BUS_VM_MAX_CONNECTIONS="+strconv.Itoa(limit), "WATCHDOG_USEC=1000000"))
	kept := dial(t, g.addr).send(request("GET /readyz", ""))
	kept.expect(t, "GET", okReady)
	clients := make([]*connection, silent)
	for i := range clients {
		clients[i] = dial(t, g.addr)
	}
	refused := closing(refusal("503 Service Unavailable", "backend_unavailable", "This server has too many connections.", "Retry-After: 1"))
	for _, c := range clients[limit+64:] { // without a word of theirs
		c.expect(t, "GET", refused)
		c.closes(t)
	}
	for _, c := range clients[limit : limit+32] {
		c.send(request("GET /readyz", "")).expect(t, "GET", refused)
	}
	for fed := 0; fed < 4; {
		if m.Next(t) == "WATCHDOG=1" {
			fed++
		}
	}
	kept.send(request("GET /readyz", "")).expect(t, "GET", okReady)
	require.NotContains(t, g.stderr.String(), "does not answer itself")
	for _, c := range clients {
		require.NoError(t, c.Close())
	}
	harness.Eventually(t, "room", func() bool { return ask(t, g.addr, request("GET /readyz", "")) == okReady })
}

// A body takes memory when it arrives, not when it is announced: clients that
// stop within one cost hardly more than those that stop within the headers.
func TestAnnouncedBodiesTakeNoMemory(t *testing.T) {
	t.Parallel()
	const clients, page = 1000, 4 << 10
	hold := func(rest string) (each int) {
		g, admin := serveAdmin(t, nil)
		resident := func() int { return int(measure(t, admin, "process_resident_memory_bytes")) }
		before := resident()
		for range clients {
			dial(t, g.addr).send("POST " + startPath + " HTTP/1.1\r\nHost: vm.test\r\n" + rest)
		}
		require.Equal(t, okReady, ask(t, g.addr, request("GET /readyz", ""))) // so all of them are read
		return (resident() - before) / clients
	}
	headers := hold("X: ")
	for _, rest := range []string{
		"Content-Length: 65536\r\n\r\n", "Content-Length: 4096\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nffff\r\n",
		"Transfer-Encoding: chunked\r\n\r\n40\r\n",
	} {
		each := hold(rest)
		t.Logf("%d bytes each in the headers, %d with %q", headers, each, rest)
		require.Less(t, each, 2*headers+page, rest)
	}
}
