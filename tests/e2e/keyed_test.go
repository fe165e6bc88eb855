package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/contract"
	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// A start whose answer was lost with its gateway is repeated with its key by the
// next one, which learns of the reply: the worker was asked once, and the receipt says
// that the usage integration has both records.
func TestKeySurvivesKill(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=10s")
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StartRequest}, Hold: 1 << 20})
	keyed := request("POST "+startPath, mint("vm:write"), idempotencyKey)
	lost := make(chan struct{})
	go func() { defer close(lost); s.send(keyed) }()
	require.NoError(t, s.platform.VM.WaitAsked(t.Context(), platform.StartRequest, 1))
	underWay := replyTo(t, s.addr, keyed)
	require.Equal(t, http.StatusConflict, underWay.Status)
	location := underWay.Header.Get("Location")
	s.signal(t, syscall.SIGKILL)
	s.wait(t)
	<-lost

	g := serve(t, s.command.Env)
	s.platform.VM.SetBehaviour()
	var replayed contract.Reply
	harness.Eventually(t, "the kept answer", func() bool {
		replayed = replyTo(t, g.addr, keyed)
		return replayed.Status == http.StatusAccepted
	})
	require.Equal(t, "true", replayed.Header.Get("Idempotency-Replayed"))
	require.Equal(t, location, replayed.Header.Get("Location"))
	require.Equal(t, started, string(replayed.Body))
	require.Equal(t, http.StatusUnprocessableEntity, replyTo(t, g.addr, strings.Replace(keyed, startPath, stopPath, 1)).Status)
	require.Len(t, s.platform.VM.Asked(platform.StartRequest), 1)

	var receipt struct {
		Operation struct {
			Outcome string
			Usage   []struct {
				Type        string `json:"event_type"`
				DeliveredAt string `json:"delivered_at"`
			}
		}
	}
	harness.Eventually(t, "both records are delivered", func() bool {
		reply := replyTo(t, g.addr, request("GET "+location, mint("vm:read")))
		require.Equal(t, http.StatusOK, reply.Status)
		require.NoError(t, json.Unmarshal(reply.Body, &receipt))
		usage := receipt.Operation.Usage
		return len(usage) == 2 && usage[0].DeliveredAt != "" && usage[1].DeliveredAt != ""
	})
	require.Equal(t, "accepted", receipt.Operation.Outcome)
	require.Equal(t, "runtime_start_finished", receipt.Operation.Usage[1].Type)
}

// A start that waits for another one ends with the process, and says that it is not
// known what becomes of it.
func TestJoinedStartAtTheEnd(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=1m", "BUS_VM_SHUTDOWN_DELAY=0s", "BUS_VM_SHUTDOWN_TIMEOUT=300ms")
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StartRequest}, Hold: 1 << 20})
	replies := make(chan contract.Reply, 2)
	start := func(token string, headers ...string) {
		go func() { replies <- replyTo(t, s.addr, request("POST "+startPath, token, headers...)) }()
	}
	start(mint("vm:write"))
	require.NoError(t, s.platform.VM.WaitAsked(t.Context(), platform.StartRequest, 1))
	other := mintWith(`"sub":"00000000-0000-4000-8000-0000000000a1"`)
	start(other, "Prefer: wait=50")
	harness.Eventually(t, "it has joined", func() bool {
		return strings.Contains(string(replyTo(t, s.addr, request("GET /api/v1/vm/operations", other)).Body), `"joined":true`)
	})
	s.signal(t, syscall.SIGTERM)
	for range 2 {
		reply := <-replies
		require.Equal(t, http.StatusServiceUnavailable, reply.Status, "%s", reply.Body)
		require.Contains(t, string(reply.Body), `"outcome":"unknown"`)
		require.NotEmpty(t, reply.Header.Get("Location"))
	}
	require.Equal(t, 1, s.wait(t))
	require.Len(t, s.platform.VM.Asked(platform.StartRequest), 1)
}

// listens waits until the replies to a request are received.
func (s *stack) listens(t testing.TB, name string) {
	t.Helper()
	become(t, s.admin, `bus_vm_events_stream_up{event="`+platform.ReplyName(name)+`"}`, 1)
}

// A start does not join one that was accepted before a stop of another requester was: its
// caller would be told of an acceptance, and billed, for nothing.
func TestStartAfterAStopOfAnother(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=10s")
	s.listens(t, platform.StopRequest)
	s.tells(`{"state":"starting"}`)
	require.Equal(t, okStart, ask(t, s.addr, request("POST "+startPath, mint("vm:write"))))
	require.Positive(t, s.measures(t, "bus_vm_start_under_way_seconds"))
	client := platform.NewClient(s.platform.URL(), s.platform.ProviderToken())
	defer client.Close()
	require.NoError(t, client.Publish(t.Context(), platform.Message{
		Name: platform.ReplyName(platform.StopRequest), CorrelationID: "00000000-0000-4000-8000-0000000000c1", Payload: json.RawMessage(`{"accepted":true}`),
	}))
	become(t, s.admin, "bus_vm_start_under_way_seconds", 0)
	harness.Eventually(t, "a start of another account is sent", func() bool {
		other := mintWith(`"sub":"00000000-0000-4000-8000-0000000000a1"`)
		require.Equal(t, http.StatusAccepted, replyTo(t, s.addr, request("POST "+startPath, other, "Prefer: wait=1")).Status)
		return len(s.platform.VM.Asked(platform.StartRequest)) > 1
	})
}

// An acceptance that only the history has, since the stream lost it, counts for the status
// as any other does once it is on record.
func TestStatusAfterAnAcceptanceOfTheHistory(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_TIMEOUT=500ms", "BUS_VM_LATE_REPLY=0s",
		"BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
	s.listens(t, platform.StartRequest)
	s.listens(t, platform.StatusRequest)
	behave := func(state string, hold int) {
		s.platform.VM.SetBehaviour(
			platform.Behaviour{Names: []string{platform.StatusRequest}, Payload: json.RawMessage(`{"state":"` + state + `","provider":"fake"}`)},
			platform.Behaviour{Names: []string{platform.StartRequest}, Hold: hold})
	}
	both := mint("vm:read vm:write")
	read := request("GET "+statusPath, both)
	behave("stopped", 1<<20)
	s.platform.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, HalfOpen: true})
	reply := replyTo(t, s.addr, request("POST "+startPath, both))
	require.Contains(t, string(reply.Body), `"outcome":"unknown"`)
	time.Sleep(time.Second) // a stream that was silent has been opened again
	require.Equal(t, showing(worked("stopped"), ""), ask(t, s.addr, read))
	behave("ready", 0)
	require.NoError(t, s.platform.Events.WaitAccepted(t.Context(), platform.ReplyName(platform.StartRequest), 1))
	time.Sleep(100 * time.Millisecond) // the stream would have brought it
	s.platform.Events.SetFaults(platform.Faults{})
	require.Equal(t, showing(worked("stopped"), ""), ask(t, s.addr, read))
	harness.Eventually(t, "the acceptance is on record", func() bool {
		return strings.Contains(string(replyTo(t, s.addr, request("GET "+reply.Header.Get("Location"), both)).Body), `"outcome":"accepted"`)
	})
	require.Equal(t, showing(worked("ready"), ""), ask(t, s.addr, read))
}

// Starts of many subjects that wait are one on SQLite too: the worker is asked once, and
// all are answered when the runtime is ready.
func TestManyWaitingStarts(t *testing.T) {
	t.Parallel()
	const subjects = 500
	s := serveStack(t, "BUS_VM_TIMEOUT=30s", "BUS_VM_STATUS_MAX_AGE=10s")
	s.tells(`{"state":"starting"}`)
	var conns []*connection
	for i := range subjects {
		token := mintWith(fmt.Sprintf(`"sub":"00000000-0000-4000-8000-%012d"`, i))
		conns = append(conns, dial(t, s.addr).send(request("POST "+startPath, token, "Prefer: wait=50")))
	}
	s.waits(t, subjects)
	s.platform.VM.SetBehaviour()
	began := time.Now() // the next status is asked for 100 ms later at most
	for _, c := range conns {
		c.expect(t, "POST", arrived("start", worked("ready"), 50))
	}
	t.Logf("all answered within %s; 350 ms are wanted of a machine that does nothing else", time.Since(began))
	require.Less(t, time.Since(began), 20*time.Second)
	require.Len(t, s.platform.VM.Asked(platform.StartRequest), 1)
}
