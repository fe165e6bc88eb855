package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// worked is the status document of the platform's worker.
func worked(state string) string { return `{"status":{"state":"` + state + `","provider":"fake"}}` }

// tells has the worker say that its machine is in a state, whatever it does.
func (s *stack) tells(status string) {
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StatusRequest}, Payload: json.RawMessage(status)})
}

// unchanged is the reply to a read of what is known; headers are further lines.
func unchanged(document, headers string) string {
	reply := jsonReply("304 Not Modified", "Etag: "+tagOf(document)+"\n"+headers, "")
	return strings.Replace(reply, "Content-Type: application/json\n", "", 1)
}

// arrived is the reply to a write whose caller waited for its state.
func arrived(action, status string, seconds int) string {
	return jsonReply("200 OK", located+"\n"+waitedFor(seconds), `{"accepted":true,"action":"`+action+`",`+status[1:])
}

func waitedFor(seconds int) string { return "Preference-Applied: wait=" + strconv.Itoa(seconds) }

// acceptedBut is a failure of a write that the runtime has taken on.
func acceptedBut(status, kind, message string, seconds int) string {
	return strings.Replace(refusal(status, kind, message, located+"\n"+waitedFor(seconds)), `","request_id"`, `","outcome":"accepted","request_id"`, 1)
}

// later asks in the background.
func later(t testing.TB, addr, raw string) <-chan string {
	got := make(chan string, 1)
	go func() { defer close(got); got <- ask(t, addr, raw) }() // closed, too, when it fails
	return got
}

// become waits until an admin listener shows a value.
func become(t testing.TB, admin, name string, value float64) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%s is %v", name, value), func() bool { return measure(t, admin, name) == value })
}

// waits waits until so many requests wait.
func (s *stack) waits(t testing.TB, n int) {
	t.Helper()
	become(t, s.admin, "bus_vm_waits_open", float64(n))
}

// sees waits until the gateway, which asks again when it has an answer, has seen what the
// worker tells.
func (s *stack) sees(t testing.TB) {
	t.Helper()
	asked := func() int { return len(s.platform.VM.Asked(platform.StatusRequest)) }
	enough := asked() + 2
	harness.Eventually(t, "two more requests for the status", func() bool { return asked() >= enough })
}

// measure is a value that an admin listener shows.
func measure(t testing.TB, admin, name string) float64 {
	t.Helper()
	_, text := harness.Get(t, admin, "/metrics", "")
	value, ok := harness.Metric(text, name)
	require.True(t, ok, name)
	return value
}

func (s *stack) measures(t testing.TB, name string) float64 {
	t.Helper()
	return measure(t, s.admin, name)
}

func TestConditionalReads(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	read, tag, same := mint("vm:read"), tagOf(state("ready")), unchanged(state("ready"), "")
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{[]string{tag}, same},
		{[]string{"W/" + tag}, same},
		{[]string{"*"}, same},
		{[]string{`"x", W/"y,` + `z" , ` + tag}, same},
		{[]string{`"x"`, tag}, same},
		{[]string{""}, okStatus},
		{[]string{`"x"`}, okStatus},
		{[]string{strings.Trim(tag, `"`)}, okStatus},
		{[]string{`"x` + tag}, okStatus},
	} {
		var headers []string
		for _, field := range c.fields {
			headers = append(headers, "If-None-Match: "+field)
		}
		require.Equal(t, c.want, ask(t, g.addr, request("GET "+statusPath, read, headers...)), c.fields)
		require.Equal(t, c.want == same, ask(t, g.addr, request("HEAD "+statusPath, read, headers...)) == same, c.fields)
	}
	require.Equal(t, headOf(okStatus), ask(t, g.addr, request("HEAD "+statusPath, read)))
}

// What callers ask for is honoured up to wait.max, and invalid values not at all. The
// tests of middleware have what is valid.
func TestPreferredWaits(t *testing.T) {
	t.Parallel()
	g := serve(t, []string{"BUS_VM_WAIT_MAX=1"}, "--static-transition", "1h")
	both := mint("vm:read vm:write")
	require.Equal(t, okStop, ask(t, g.addr, request("POST "+stopPath, both)))
	moving := state("stopping")
	for _, c := range []struct {
		prefer  string
		seconds int // -1 for none
	}{
		{"wait=0", 0}, {"wait=1", 1}, {"wait=50\r\nPrefer: wait=0", 1}, {"wait", -1},
	} {
		headers, took := retryIn5, time.Duration(max(0, c.seconds))*time.Second
		if c.seconds >= 0 {
			headers += "\n" + waitedFor(c.seconds)
		}
		began := time.Now()
		require.Equal(t, showing(moving, headers), ask(t, g.addr, request("GET "+statusPath, both, "Prefer: "+c.prefer)), c.prefer)
		require.GreaterOrEqual(t, time.Since(began), took, c.prefer)
		if c.seconds == 1 {
			continue
		}
		require.Equal(t, unchanged(moving, headers), ask(t, g.addr, request("GET "+statusPath, both, "If-None-Match: *", "Prefer: "+c.prefer)))
		require.Equal(t, jsonReply("202 Accepted", located+"\n"+strings.Replace(headers, retryIn5, retryLater, 1), stopped), ask(t, g.addr, request("POST "+stopPath, both, "Prefer: "+c.prefer)), c.prefer)
	}
}

// Of the static backend and of a worker: start and stop wait for their state, reads for
// another status, or for the end of the way.
func TestWaits(t *testing.T) {
	t.Parallel()
	both := mint("vm:read vm:write")
	t.Run("static", func(t *testing.T) {
		t.Parallel()
		g := serve(t, nil, "--static-transition", "300ms")
		require.Equal(t, arrived("stop", state("stopped"), 20), ask(t, g.addr, request("POST "+stopPath, both, "Prefer: wait=20")))
		start := later(t, g.addr, request("POST "+startPath, both, "Prefer: wait=20"))
		require.Equal(t, showing(state("starting"), retryIn5+"\n"+waitedFor(20)),
			ask(t, g.addr, request("GET "+statusPath, both, "Prefer: wait=20", "If-None-Match: "+tagOf(state("stopped")))))
		require.Equal(t, showing(state("ready"), waitedFor(20)), ask(t, g.addr, request("GET "+statusPath, both, "Prefer: wait=20")))
		require.Equal(t, arrived("start", state("ready"), 20), <-start)
		require.Equal(t, showing(state("ready"), waitedFor(20)), ask(t, g.addr, request("GET "+statusPath, both, "Prefer: wait=20")), "at once")
	})
	t.Run("worker", func(t *testing.T) {
		t.Parallel()
		s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=10s")
		s.tells(`{"state":"starting"}`)
		start := later(t, s.addr, request("POST "+startPath, both, "Prefer: wait=20"))
		s.waits(t, 1)
		moving := `{"status":{"state":"starting","provider":"events"}}`
		require.Equal(t, showing(moving, retryIn5), ask(t, s.addr, request("GET "+statusPath, both)))
		settled := later(t, s.addr, request("GET "+statusPath, both, "Prefer: wait=20"))
		another := later(t, s.addr, request("GET "+statusPath, both, "Prefer: wait=20", "If-None-Match: "+tagOf(moving)))
		s.waits(t, 3)
		require.Greater(t, s.measures(t, "bus_vm_start_under_way_seconds"), 0.)
		require.Equal(t, 1., s.measures(t, `bus_vm_runtime_state{state="starting"}`))

		// Details that change are told of at most once a second.
		began := time.Now()
		third := later(t, s.addr, request("GET "+statusPath, both, "Prefer: wait=20", "If-None-Match: "+tagOf(moving)))
		s.waits(t, 4)
		s.tells(`{"state":"starting","details":{"percent":1}}`)
		percent := `{"status":{"state":"starting","provider":"events","details":{"percent":1}}}`
		require.Equal(t, showing(percent, retryIn5+"\n"+waitedFor(20)), <-third)
		require.Equal(t, showing(percent, retryIn5+"\n"+waitedFor(20)), <-another)
		require.GreaterOrEqual(t, time.Since(began), time.Second)

		s.tells(`{"state":"stopped"}`) // at rest, and the start has not arrived
		s.sees(t)
		s.waits(t, 2)
		s.platform.VM.SetBehaviour()
		require.Equal(t, arrived("start", worked("ready"), 20), <-start)
		require.Equal(t, showing(worked("ready"), waitedFor(20)), <-settled)
		harness.Eventually(t, "the start is measured", func() bool { return s.measures(t, "bus_vm_start_duration_seconds_count") == 1 })
		require.Zero(t, s.measures(t, "bus_vm_start_under_way_seconds"))
		require.Zero(t, s.measures(t, "bus_vm_waits_open"))
	})
}

// A wait does not outlast the token, and ends at a drain as its time does.
func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	g, admin := serveAdmin(t, nil, "--static-transition", "1h", "--static-state", "x")
	expires := time.Now().Add(3 * time.Second).Truncate(time.Second)
	brief := mintWith(fmt.Sprintf(`"exp":%d`, expires.Unix()))
	require.Equal(t, jsonReply("202 Accepted", located+"\n"+retryLater+"\n"+waitedFor(50), started), ask(t, g.addr, request("POST "+startPath, brief, "Prefer: wait=60")))
	require.Greater(t, time.Since(expires), -time.Second)
	require.Less(t, time.Since(expires), 30*time.Second)

	token := mint("vm:read vm:write")
	conns := []*connection{
		dial(t, g.addr).send(request("POST "+startPath, token, "Prefer: wait=20")),
		dial(t, g.addr).send(request("GET "+statusPath, token, "Prefer: wait=20")),
		dial(t, g.addr).send(request("GET "+statusPath, token, "Prefer: wait=20", "If-None-Match: *")),
	}
	become(t, admin, "bus_vm_waits_open", float64(len(conns)))
	began := time.Now()
	g.signal(t, syscall.SIGTERM)
	moving := retryIn5 + "\n" + waitedFor(20)
	conns[0].expect(t, "POST", closing(jsonReply("202 Accepted", located+"\n"+retryLater+"\n"+waitedFor(20), started)))
	conns[1].expect(t, "GET", closing(showing(state("starting"), moving)))
	got, err := conns[2].reply("GET")
	require.NoError(t, err)
	require.Equal(t, unchanged(state("starting"), moving), strings.Replace(got, "Connection: close\n", "", 1))
	require.Equal(t, 0, g.wait(t), "%s", g.stderr)
	require.Less(t, time.Since(began), 15*time.Second)
}

// An opposite write that is accepted later ends a wait, through this gateway or by
// another requester; so does a runtime that fails.
func TestWaitsInVain(t *testing.T) {
	t.Parallel()
	write := mint("vm:write")
	start, stop := request("POST "+startPath, write, "Prefer: wait=20"), request("POST "+stopPath, write, "Prefer: wait=20")
	t.Run("superseded", func(t *testing.T) {
		t.Parallel()
		s := serveStack(t, "BUS_VM_TIMEOUT=10s")
		s.tells(`{"state":"starting"}`)
		waiting := later(t, s.addr, start)
		s.waits(t, 1)
		stopping := later(t, s.addr, stop)
		require.Equal(t, acceptedBut("409 Conflict", "superseded", "The runtime accepted the start, and a stop after it.", 20), <-waiting)
		s.platform.VM.SetBehaviour()
		require.Equal(t, arrived("stop", worked("stopped"), 20), <-stopping)
	})
	t.Run("by another requester", func(t *testing.T) {
		t.Parallel()
		s, other := serveStack(t, "BUS_VM_TIMEOUT=10s"), ""
		s.tells(`{"state":"starting"}`)
		client := platform.NewClient(s.platform.URL(), s.platform.ProviderToken())
		defer client.Close()
		answered := 0.
		answer := func() {
			require.NoError(t, client.Publish(t.Context(), platform.Message{
				Name: platform.ReplyName(platform.StopRequest), CorrelationID: other, Payload: json.RawMessage(`{"accepted":true}`),
			}))
			answered++
			become(t, s.admin, `bus_vm_events_replies_total{event="`+platform.ReplyName(platform.StopRequest)+`",match="unmatched"}`, answered)
		}
		harness.Eventually(t, "the stream is open", func() bool {
			return s.measures(t, `bus_vm_events_stream_up{event="`+platform.ReplyName(platform.StopRequest)+`"}`) == 1
		})
		other = "of-another-requester"
		answer() // and again later: only the first counts
		waiting := later(t, s.addr, start)
		s.waits(t, 1)
		answer()
		require.Empty(t, waiting)
		other = "another of it"
		answer()
		require.Equal(t, acceptedBut("409 Conflict", "superseded", "The runtime accepted the start, and a stop after it.", 20), <-waiting)
	})
	t.Run("failed", func(t *testing.T) {
		t.Parallel()
		s := serveStack(t, "BUS_VM_TIMEOUT=10s")
		s.tells(`{"state":"failed"}`) // since before the start
		waiting := later(t, s.addr, start)
		s.waits(t, 1)
		s.sees(t)
		require.Empty(t, waiting)
		s.tells(`{"state":"starting"}`)
		s.sees(t)
		require.Empty(t, waiting)
		s.tells(`{"state":"error"}`)
		require.Equal(t, acceptedBut("502 Bad Gateway", "runtime_failed", "The runtime accepted the start, and has failed since: its state is error.", 20), <-waiting)
	})
}

// Beyond the limit, and beyond what one subject may hold of its last quarter, callers
// are answered at once. Those who wait take no place of the writes.
func TestTooManyWaits(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_WAIT_WAITERS=4", "BUS_VM_WRITES_IN_FLIGHT=1")
	s.tells(`{"state":"starting"}`)
	raw := func(i int) string {
		return request("POST "+startPath, mintWith(fmt.Sprintf(`"sub":"00000000-0000-4000-8000-0000000000b%d"`, i)), "Prefer: wait=50")
	}
	var waiting []<-chan string
	for i := range 3 {
		waiting = append(waiting, later(t, s.addr, raw(0)))
		s.waits(t, i+1)
	}
	require.Equal(t, okStart, ask(t, s.addr, raw(0)))
	waiting = append(waiting, later(t, s.addr, raw(1)))
	s.waits(t, 4)
	require.Equal(t, okStart, ask(t, s.addr, raw(2)))
	s.platform.VM.SetBehaviour()
	for _, each := range waiting {
		require.Equal(t, arrived("start", worked("ready"), 50), <-each)
	}
}

// A thousand waits cost little memory, and the worker is asked as often as for one.
func TestManyWaits(t *testing.T) {
	t.Parallel()
	const waits, each = 1000, 40 << 10
	s := serveStack(t, "BUS_VM_TIMEOUT=10s", "BUS_VM_STATUS_MAX_AGE=10s", "BUS_VM_STATUS_REFRESH_MOVING=500ms")
	s.tells(`{"state":"starting"}`)
	s.read()
	var reads []string // of subjects that hold less than an eighth each
	for i := range 10 {
		reads = append(reads, request("GET "+statusPath, mintWith(fmt.Sprintf(`"sub":"reader %d"`, i)), "Prefer: wait=50"))
		s.send(strings.Replace(reads[i], "wait=50", "wait=0", 1))
	}
	before := s.resident(t)
	var conns []*connection
	for i := range waits {
		conns = append(conns, dial(t, s.addr).send(reads[i%len(reads)]))
	}
	s.waits(t, waits)
	asked, began := len(s.platform.VM.Asked(platform.StatusRequest)), time.Now()
	time.Sleep(3 * time.Second)
	rate := float64(len(s.platform.VM.Asked(platform.StatusRequest))-asked) / time.Since(began).Seconds()
	require.LessOrEqual(t, rate, 3., "requests for the status a second: one each 500 ms")
	cost := (s.resident(t) - before) / waits
	t.Logf("%d bytes for each wait", cost)
	if harness.RaceFlags() == nil {
		require.LessOrEqual(t, cost, each)
	}
	s.platform.VM.SetBehaviour()
	s.platform.VM.SetState("ready")
	began = time.Now()
	for _, c := range conns {
		c.expect(t, "GET", showing(worked("ready"), waitedFor(50)))
	}
	t.Logf("all answered within %s", time.Since(began))
}

// resident is the memory of the gateway in bytes.
func (s *stack) resident(t testing.TB) int {
	return int(s.measures(t, "process_resident_memory_bytes"))
}

// Retry-After is what is left of the time that the last starts took.
func TestRetryAfterByEstimate(t *testing.T) {
	t.Parallel()
	const transition = 6 * time.Second // not the 5 s that are said without an estimate
	g := serve(t, nil, "--static-state", "stopped", "--static-transition", transition.String())
	token := mint("vm:read vm:write")
	retry := func(line string, prefer ...string) string {
		return replyTo(t, g.addr, request(line, token, prefer...)).Header.Get("Retry-After")
	}
	began := time.Now()
	for range 3 { // of one way to ready
		require.Equal(t, "5", retry("POST "+startPath), "nothing is known")
	}
	apart := time.Since(began)
	require.Equal(t, "", retry("GET "+statusPath, "Prefer: wait=50"), "it is there")
	took := time.Since(began)
	left := ""
	harness.Eventually(t, "an estimate", func() bool {
		require.Equal(t, "5", retry("POST "+stopPath), "starts say nothing of stops")
		began = time.Now()
		left = retry("POST " + startPath)
		return left != "5"
	})
	within := func(least time.Duration) {
		t.Helper()
		seconds, err := strconv.ParseFloat(left, 64)
		require.NoError(t, err)
		require.GreaterOrEqual(t, seconds, (transition - apart - time.Since(began)).Seconds())
		require.LessOrEqual(t, seconds, (took-least).Seconds()+1)
	}
	within(0)
	const pause = 2 * time.Second
	time.Sleep(pause)
	left = retry("GET " + statusPath)
	within(pause)
}

// A write that is accepted shortly before a wait for a status ends makes that wait no
// longer, and no failure, however slow the worker is.
func TestWaitEndsAmidWrites(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=20s", "BUS_VM_STATUS_MAX_AGE=20s")
	both := mint("vm:read vm:write")
	require.Contains(t, ask(t, s.addr, request("GET "+statusPath, both)), "stopped")
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: 3 * time.Second})
	wait := request("GET "+statusPath, both, "Prefer: wait=4", "If-None-Match: *")
	got := later(t, s.addr, wait)
	time.Sleep(3500 * time.Millisecond)
	require.Equal(t, okStop, ask(t, s.addr, request("POST "+stopPath, both)))
	require.Equal(t, unchanged(worked("stopped"), waitedFor(4)+"\n"), <-got)
}
