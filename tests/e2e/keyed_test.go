package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

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
