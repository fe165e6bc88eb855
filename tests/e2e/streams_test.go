package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const eventsPath = "/api/v1/vm/events"

// stream is an event stream that is read.
type stream struct {
	*connection
	head *http.Response
	body *bufio.Reader
	last string // id
}

// follow opens a stream with further header lines.
func follow(t testing.TB, addr, token string, headers ...string) *stream {
	t.Helper()
	return followRaw(t, addr, request("GET "+eventsPath, token, headers...))
}

func followRaw(t testing.TB, addr, raw string) *stream {
	t.Helper()
	c := dial(t, addr)
	c.send(raw)
	head, err := http.ReadResponse(c.reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, head.StatusCode)
	require.Equal(t, "text/event-stream", head.Header.Get("Content-Type"))
	require.Equal(t, "no-store", head.Header.Get("Cache-Control"))
	return &stream{connection: c, head: head, body: bufio.NewReader(head.Body)}
}

// next is the next event: its lines, without its id, the retry or a heartbeat.
func (s *stream) next(t testing.TB) string {
	t.Helper()
	for event := ""; ; {
		line, err := s.body.ReadString('\n')
		require.NoError(t, err)
		id, identified := strings.CutPrefix(line, "id: ")
		switch {
		case identified:
			s.last = strings.TrimSpace(id)
		case strings.HasPrefix(line, "retry: "), strings.HasPrefix(line, ":"):
		case line != "\n":
			event += line
		case event != "":
			return event
		}
	}
}

// says reads the next event.
func (s *stream) says(t testing.TB, want string) {
	t.Helper()
	require.Equal(t, want, s.next(t))
}

// tellsOf reads the next event, which is an operation.
func (s *stream) tellsOf(t testing.TB, parts ...string) {
	t.Helper()
	got := s.next(t)
	require.Regexp(t, `^event: operation\ndata: \{"id":"[0-9a-f-]{36}",.*\}\n$`, got)
	for _, part := range parts {
		require.Contains(t, got, part)
	}
}

// over expects the end in order.
func (s *stream) over(t testing.TB, reason string) {
	t.Helper()
	s.says(t, "event: end\ndata: {\"reason\":\""+reason+"\"}\n")
	rest, err := io.ReadAll(s.body)
	require.NoError(t, err)
	require.Empty(t, rest)
}

func statusEvent(document string) string {
	return "event: status\ndata: " + strings.TrimSuffix(strings.TrimPrefix(document, `{"status":`), "}") + "\n"
}

const resetEvent = "event: reset\ndata: {}\n"

// A caller is told of the status and of its own operations, goes on where it was, and
// is told all that counts after another process. Operators are told of everything.
func TestEventStream(t *testing.T) {
	t.Parallel()
	g, admin := serveAdmin(t, nil, "--static-transition", "300ms")
	both := mint("vm:read vm:write")
	other := mintWith(`"sub":"00000000-0000-4000-8000-0000000000c1"`)
	s := follow(t, g.addr, both)
	require.Equal(t, "no", s.head.Header.Get("X-Accel-Buffering"))
	require.Equal(t, []string{"chunked"}, s.head.TransferEncoding)
	s.says(t, statusEvent(state("ready")))
	first := s.last
	operators := followRaw(t, admin, "GET /debug/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	operators.says(t, statusEvent(state("ready")))

	require.Equal(t, okStop, ask(t, g.addr, request("POST "+stopPath, other)))
	seen := map[string]int{}
	for range 5 { // the order of an acceptance and of the state is that in which they are known
		kind, _, _ := strings.Cut(operators.next(t), "\n")
		seen[kind]++
	}
	require.Equal(t, map[string]int{"event: status": 2, "event: operation": 3}, seen)
	s.says(t, statusEvent(state("stopping")))
	s.says(t, statusEvent(state("stopped")))

	require.Equal(t, okStart, ask(t, g.addr, request("POST "+startPath, both)))
	var told []string
	for range 5 {
		told = append(told, s.next(t))
	}
	back := follow(t, g.addr, both, "Last-Event-ID: "+first)
	back.says(t, statusEvent(state("stopping")))
	back.says(t, statusEvent(state("stopped")))
	for _, each := range told {
		back.says(t, each)
	}
	for _, id := range []string{"x", "00000000." + first} {
		reset := follow(t, g.addr, both, "Last-Event-ID: "+id)
		reset.says(t, resetEvent)
		reset.says(t, statusEvent(state("ready")))
		reset.tellsOf(t, `"action":"start"`, `"accepted_at":"`, `"reached_at":"`, `"outcome":"accepted"`)
		require.Equal(t, s.last, reset.last)
		again := follow(t, g.addr, both, "Last-Event-ID: "+reset.last)
		g.signal(t, syscall.SIGHUP) // to no effect
		require.NoError(t, again.Close())
	}
	all := followRaw(t, admin, "GET /debug/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n\r\n")
	all.says(t, resetEvent)
	all.says(t, statusEvent(state("ready")))
	all.tellsOf(t, `"action":"stop"`)
	all.tellsOf(t, `"action":"start"`)

	g.signal(t, syscall.SIGTERM)
	for _, each := range []*stream{s, back, all} {
		each.over(t, "draining")
	}
	require.Equal(t, 0, g.wait(t), "%s", g.stderr)
}

// HEAD shows the headers alone, and HTTP/1.0 gets a body that the end of the connection
// ends. Other methods, and callers without the scope, are refused.
func TestEventStreamForms(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	token := mint("vm:read")
	for _, version := range []string{"1.0", "1.1"} {
		c := dial(t, g.addr).send(strings.Replace(request("HEAD "+eventsPath, token), "HTTP/1.1", "HTTP/"+version, 1))
		raw, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Regexp(t, `^HTTP/1\.1 200 OK\r\nDate: .*\r\nContent-Type: text/event-stream\r\nX-Request-Id: .*\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n$`, string(raw))
	}
	brief := mintWith(fmt.Sprintf(`"exp":%d`, time.Now().Add(3*time.Second).Unix()))
	c := dial(t, g.addr).send(strings.Replace(request("GET "+eventsPath, brief), "HTTP/1.1", "HTTP/1.0", 1))
	raw, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Regexp(t, `^HTTP/1\.1 200 OK\r\nDate: .*\r\nContent-Type: text/event-stream\r\nX-Request-Id: .*\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n`+
		`retry: \d{4}\n\nid: [0-9a-f]{8}\.1\n`+statusEvent(state("ready"))+"\nevent: end\ndata: {\"reason\":\"expired\"}\n\n$", string(raw))
	require.Equal(t, lacking("vm:read"), ask(t, g.addr, request("GET "+eventsPath, mint("vm:write"))))
	require.Equal(t, missingToken, ask(t, g.addr, request("GET "+eventsPath, "")))
	require.Equal(t, readOnly, ask(t, g.addr, request("POST "+eventsPath, token)))
}

func TestEventStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	expires := time.Now().Add(3 * time.Second).Truncate(time.Second)
	s := follow(t, g.addr, mintWith(fmt.Sprintf(`"exp":%d`, expires.Unix())))
	s.says(t, statusEvent(state("ready")))
	s.over(t, "expired")
	require.Greater(t, time.Since(expires), -time.Second)
	require.Less(t, time.Since(expires), 30*time.Second)
}

// A secret that is taken out ends the streams of its tokens, and no others.
func TestEventStreamEndsWithItsSecret(t *testing.T) {
	t.Parallel()
	file := harness.File(t, "secrets", newSecret+"\n"+oldSecret+"\n")
	g := serve(t, []string{noSecret}, "--jwt-secret-file", file, "--static-transition", "1ms")
	before, after := follow(t, g.addr, signedBy(oldSecret)), follow(t, g.addr, signedBy(newSecret))
	for _, s := range []*stream{before, after} {
		s.says(t, statusEvent(state("ready")))
		require.NoError(t, s.SetDeadline(time.Now().Add(2*harness.WaitLimit)))
	}
	harness.Replace(t, file, newSecret)
	g.hangUp(t)
	_, err := io.Copy(io.Discard, before.body) // until the next heartbeat
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, okStop, ask(t, g.addr, request("POST "+stopPath, signedBy(newSecret))))
	for !strings.Contains(after.next(t), "stopped") {
	}
}

// Streams share out their places as waits do. One whose client has gone gives its place
// back at the next heartbeat.
func TestTooManyEventStreams(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_WAIT_STREAMS=4")
	token := func(i int) string { return mintWith(fmt.Sprintf(`"sub":"00000000-0000-4000-8000-0000000000d%d"`, i)) }
	full := refusal("503 Service Unavailable", "backend_unavailable", "Too many event streams are open.", "Retry-After: 5")
	var open []*stream
	for range 3 {
		open = append(open, follow(t, s.addr, token(0)))
	}
	require.Equal(t, full, ask(t, s.addr, request("GET "+eventsPath, token(0))))
	open = append(open, follow(t, s.addr, token(1)))
	require.Equal(t, full, ask(t, s.addr, request("GET "+eventsPath, token(2))))
	require.Equal(t, 4., s.measures(t, "bus_vm_streams_open"))
	require.NoError(t, open[0].Close())
	require.NoError(t, open[1].CloseWriteHalf())
	began := time.Now()
	harness.Eventually(t, "places are free", func() bool { return s.measures(t, "bus_vm_streams_open") == 2 })
	require.Less(t, time.Since(began), 28*time.Second, "a heartbeat comes every 15 s")
	follow(t, s.addr, token(2))
}

// CloseWriteHalf says that nothing more will be sent.
func (c *connection) CloseWriteHalf() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// A reader that does not read is cut off; others are told everything.
func TestSlowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_STATUS_MAX_AGE=10s")
	token := mint("vm:read")
	slow, quick := follow(t, s.addr, token), follow(t, s.addr, token)
	require.NoError(t, slow.Conn.(*net.TCPConn).SetReadBuffer(4<<10))
	quick.next(t)
	details := strings.Repeat("x", 60<<10)
	for i := 0; s.measures(t, "bus_vm_streams_cut_off_total") == 0; i++ {
		require.Less(t, i, 400)
		s.tells(fmt.Sprintf(`{"state":"state %d","details":{"x":%q}}`, i, details))
		for want := fmt.Sprintf(`"state %d"`, i); !strings.Contains(quick.next(t), want); {
		}
	}
	harness.Eventually(t, "it is cut off", func() bool { return s.measures(t, "bus_vm_streams_open") == 1 })
	require.NoError(t, slow.Conn.(*net.TCPConn).SetReadBuffer(4<<20)) // of what is on its way
	_, err := io.Copy(io.Discard, slow.body)
	require.Error(t, err, "it ended in order")
	s.tells(`{"state":"last"}`)
	require.Contains(t, quick.next(t), `"last"`)
}

// A thousand streams cost little memory, and the worker is asked as often as for one;
// without any it is not asked at all.
func TestManyEventStreams(t *testing.T) {
	t.Parallel()
	const streams, each = 1000, 40 << 10
	s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=10s", "BUS_VM_STATUS_REFRESH=500ms", "BUS_VM_WAIT_STREAMS=2000")
	read := mint("vm:read")
	rate := func() float64 {
		asked, began := len(s.platform.VM.Asked(platform.StatusRequest)), time.Now()
		time.Sleep(3 * time.Second)
		return float64(len(s.platform.VM.Asked(platform.StatusRequest))-asked) / time.Since(began).Seconds()
	}
	var open []*stream
	open = append(open, follow(t, s.addr, read))
	open[0].next(t)
	one, before := rate(), s.resident(t)
	for range streams - 1 {
		open = append(open, follow(t, s.addr, read))
	}
	for _, each := range open[1:] {
		each.next(t)
	}
	for _, each := range []float64{one, rate()} {
		require.LessOrEqual(t, each, 3., "requests for the status a second: one each 500 ms")
	}
	cost := (s.resident(t) - before) / streams
	t.Logf("%d bytes for each stream", cost)
	if harness.RaceFlags() == nil {
		require.LessOrEqual(t, cost, each)
	}
	began := time.Now()
	s.tells(`{"state":"moved"}`)
	for _, each := range open {
		require.Contains(t, each.next(t), `"moved"`)
	}
	t.Logf("all told within %s", time.Since(began))
	for _, each := range open {
		require.NoError(t, each.Close())
	}
	harness.Eventually(t, "all are gone", func() bool { return s.measures(t, "bus_vm_streams_open") == 0 })
	require.Zero(t, rate(), "asked without a stream")
}

// Real nginx with the shipped file and its default time-outs passes a stream on
// unbuffered, for longer than these are.
func TestEventStreamThroughNginx(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	conf := shipped(t, "nginx/bus-vm.conf")
	for _, line := range []string{"    proxy_connect_timeout 2s;\n", "    proxy_send_timeout 15s;\n", "    proxy_read_timeout 75s;\n"} {
		require.Contains(t, conf, line)
		conf = strings.Replace(conf, line, "", 1)
	}
	both := mint("vm:read vm:write")
	s := follow(t, harness.Nginx(t, conf, g.addr), both)
	require.NoError(t, s.SetDeadline(time.Now().Add(2*harness.WaitLimit)))
	s.says(t, statusEvent(state("ready")))
	time.Sleep(62 * time.Second) // the time-out is 60 s
	require.Equal(t, okStop, ask(t, g.addr, request("POST "+stopPath, both)))
	began := time.Now()
	s.tellsOf(t, `"action":"stop"`)
	assert.Less(t, time.Since(began), 5*time.Second)
	g.signal(t, syscall.SIGTERM)
	for !bytes.Contains([]byte(s.next(t)), []byte("draining")) {
	}
	require.Equal(t, 0, g.wait(t), "%s", g.stderr)
}

// Writes that are accepted faster than the worker tells its status keep neither a wait nor
// a stream from what is so.
func TestWaitsAmidWrites(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=10s")
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: 500 * time.Millisecond})
	both := mint("vm:read vm:write")
	ended := make(chan struct{})
	stop := harness.Run(t, func(ctx context.Context) error {
		defer close(ended)
		for ctx.Err() == nil {
			require.Equal(t, okStart, ask(t, s.addr, request("POST "+startPath, both)))
			time.Sleep(100 * time.Millisecond) // a pace, which the worker's status is slower than
		}
		return nil
	})
	require.Equal(t, arrived("start", worked("ready"), 20), ask(t, s.addr, request("POST "+startPath, both, "Prefer: wait=20")))
	harness.Eventually(t, "the state is measured", func() bool { return s.measures(t, `bus_vm_runtime_state{state="ready"}`) == 1 })
	harness.Eventually(t, "a start is seen ready", func() bool { return s.measures(t, "bus_vm_start_duration_seconds_count") > 0 })
	require.Empty(t, ended)
	stop()
}

// A stream that begins while the status cannot be told has it once it can, and none that
// is older; its reader misses nothing that it was not told before it was cut off.
func TestEventStreamWithoutStatus(t *testing.T) {
	t.Parallel()
	s := serveStack(t)
	both := mint("vm:read vm:write")
	early := follow(t, s.addr, both)
	early.says(t, statusEvent(worked("stopped")))
	s.sees(t)
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StatusRequest}, Deaf: true})
	harness.Eventually(t, "the status is too old", func() bool {
		return strings.Contains(ask(t, s.addr, request("GET "+statusPath, both)), "503")
	})
	late := follow(t, s.addr, both)
	time.Sleep(2 * time.Second) // some failing requests
	require.Equal(t, okStop, ask(t, s.addr, request("POST "+stopPath, both)))
	late.tellsOf(t, `"action":"stop"`)
	require.NoError(t, late.Close())
	s.tells(`{"state":"stopped"}`)
	back := follow(t, s.addr, both, "Last-Event-ID: "+late.last)
	back.says(t, resetEvent)
	require.Contains(t, back.next(t), `"stopped"`)
}
