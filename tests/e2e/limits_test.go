package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The limits of contract and settings answer as callers need it: 429 to one
// subject that is too fast, 503 to all while too much is under way, both with
// Retry-After; reads are never in question. The bound on connections is with
// the other raw requests.

var (
	tooFast = notSent("429 Too Many Requests", "too_many_requests", "This account acts too often.", "Retry-After: 1")
	tooMany = notSent("503 Service Unavailable", "backend_unavailable", "Too many operations are under way.", "Retry-After: 1")
)

func TestWritesPerSecond(t *testing.T) {
	t.Parallel()
	g := serve(t, []string{"BUS_VM_WRITES_PER_SECOND=1"})
	write := mint("vm:read vm:write")
	other := mintWith(`"sub":"00000000-0000-4000-8000-00000000000a"`)
	harness.Eventually(t, "two writes within a second", func() bool {
		first, second := ask(t, g.addr, request("POST "+startPath, write)), ask(t, g.addr, request("POST "+stopPath, write))
		require.Contains(t, []string{okStart, tooFast}, first)
		require.Contains(t, []string{okStop, tooFast}, second)
		return second == tooFast
	})
	require.Equal(t, okStart, ask(t, g.addr, request("POST "+startPath, other)), "another subject")
	for range 20 {
		require.Equal(t, okStatus, ask(t, g.addr, request("GET "+statusPath, write)))
	}
	// What is wrong with a write is said before its pace.
	require.Equal(t, noBody, ask(t, g.addr, withBody("POST "+startPath, write, "x")))
}

func TestWritesInFlight(t *testing.T) {
	t.Parallel()
	s := serveStack(t, "BUS_VM_WRITES_IN_FLIGHT=1", "BUS_VM_TIMEOUT=10s")
	s.platform.VM.SetBehaviour(platform.Behaviour{Names: []string{platform.StartRequest}, Hold: 2})
	held := make(chan string, 1)
	go func() { held <- ask(t, s.addr, request("POST "+startPath, mint("vm:write"))) }()
	require.NoError(t, s.platform.VM.WaitAsked(t.Context(), platform.StartRequest, 1))
	for range 3 {
		require.Equal(t, tooMany, ask(t, s.addr, request("POST "+stopPath, mint("vm:write"))))
	}
	require.Contains(t, ask(t, s.addr, request("GET "+statusPath, mint("vm:read"))), "200 OK")
	harness.Eventually(t, "the held write is answered", func() bool {
		s.platform.VM.Release()
		select {
		case answer := <-held:
			require.Equal(t, okStart, answer)
			return true
		default:
			return false
		}
	})
	require.Equal(t, okStop, ask(t, s.addr, request("POST "+stopPath, mint("vm:write"))))
}
