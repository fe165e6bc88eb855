package replicas

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
	"github.com/busdk/bus-api-provider-vm/tests/postgres"
)

// events are the lines of a stream of an account, after the event with the id last.
func (r *rig) events(g *gateway, account, last string) *bufio.Scanner {
	ctx, cancel := context.WithTimeout(r.t.Context(), harness.WaitLimit)
	r.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.addr()+"/api/v1/vm/events", nil)
	require.NoError(r.t, err)
	request.Header.Set("Authorization", "Bearer "+platform.CallerToken(callerSecret, account, "vm:read"))
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	reply, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = reply.Body.Close() })
	require.Equal(r.t, http.StatusOK, reply.StatusCode)
	return bufio.NewScanner(reply.Body)
}

// until reads lines until one contains a text, and returns them.
func until(t *testing.T, lines *bufio.Scanner, text string) (read []string) {
	t.Helper()
	for lines.Scan() {
		if read = append(read, lines.Text()); strings.Contains(lines.Text(), text) {
			return read
		}
	}
	require.Fail(t, "it ended before "+text, "%v: %s", lines.Err(), strings.Join(read, "\n"))
	return nil
}

// awaitLook waits until a gateway tells of what another one did: what came before it
// looked for the first time is no change.
func (r *rig) awaitLook(g *gateway) {
	r.t.Helper()
	account := uuid.NewString()
	told := r.events(g, account, "")
	until(r.t, told, "event: status")
	ctx, quit := context.WithCancel(r.t.Context())
	var writes sync.WaitGroup
	defer writes.Wait()
	defer quit()
	writes.Go(func() {
		harness.Every(ctx, 100*time.Millisecond, func() {
			r.make(&call{gateway: r.gateways[0], action: stop, account: account, requestID: uuid.NewString()})
		})
	})
	until(r.t, told, `"action":"stop"`)
}

// An operation made on one replica is told on the others within 2 s. A reader who moves
// to another replica is told of one reset, and then what is true.
func TestEventsOfAnotherReplica(t *testing.T) {
	t.Parallel()
	r := newRig(t, postgres.Start(t), 1)
	account := uuid.NewString()
	there := r.events(r.gateways[1], account, "")
	until(t, there, "event: status")
	r.awaitLook(r.gateways[1])
	for _, action := range []string{stop, start, stop} {
		c := r.make(&call{gateway: r.gateways[0], action: action, account: account, requestID: uuid.NewString()})
		require.Equal(t, http.StatusAccepted, c.status, c)
		began := time.Now()
		for line := ""; !strings.Contains(line, `"outcome":"accepted"`); {
			lines := until(t, there, c.requestID)
			line = lines[len(lines)-1]
		}
		r.inTime(time.Since(began), 2*time.Second, "what another replica did")
	}
	var last string
	for _, line := range until(t, r.events(r.gateways[1], account, "x"), "event: operation") {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			last = id
		}
	}
	lines := r.events(r.gateways[2], account, last)
	until(t, lines, "event: reset")
	status := until(t, lines, "event: status")
	require.NotContains(t, strings.Join(status, "\n"), "event: reset")
	var told []string
	for range 3 {
		op := until(t, lines, `"action":`)
		told = append(told, op[len(op)-1])
	}
	for i, action := range []string{stop, start, stop} {
		require.Contains(t, told[i], `"action":"`+action+`"`)
		require.Contains(t, told[i], `"outcome":"accepted"`)
	}
}
