package replicas

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// heal ends all faults of the platform, and mends what was cut.
func (r *rig) heal() {
	for _, l := range r.links {
		l.mend()
	}
	r.Events.SetFaults(platform.Faults{})
	r.VM.SetBehaviour()
	r.Billing.SetBehaviour()
	r.Usage.SetBehaviour()
}

// finish puts everything right, waits until nothing is left to do, and checks.
func (r *rig) finish() {
	defer func() {
		for _, g := range r.gateways {
			if !g.hasEnded() {
				g.kill()
			}
		}
	}()
	if r.t.Failed() {
		for i, g := range r.gateways {
			r.t.Logf("gateway %d:\n%s", i, g.log)
		}
		return
	}
	r.heal()
	ctx, cancel := context.WithTimeout(context.Background(), harness.WaitLimit)
	defer cancel()
	require.NoError(r.t, r.WaitReady(ctx))
	r.relaunch()
	r.awaitCount(0, `select count(*) from operations where outcome = ''`)
	r.awaitCount(0, `select count(*) from operations where sent < records`)
	_ = r.Usage.WaitClean(ctx, r.operations()...) // check says what is not clean by then
	for _, g := range r.gateways {
		g.stop()
	}
	r.check()
}

// relaunch starts the gateways again that were killed, and waits until all are ready.
func (r *rig) relaunch() {
	r.t.Helper()
	for i, g := range r.gateways {
		if g.hasEnded() {
			require.True(r.t, g.killed.Load(), "a gateway ended by itself:\n%s", g.log)
			r.gateways[i] = r.launch(i)
		}
	}
	for _, g := range r.gateways {
		g.awaitReady()
	}
}

// operations are all writes, with what must be on record for each.
func (r *rig) operations() (list []platform.Operation) {
	publishes := r.publishes()
	for _, c := range r.calls {
		op := platform.Operation{Account: c.account, RequestID: c.requestID, Action: c.action, Want: platform.WantWhole}
		switch {
		case c.replayed(): // the records are of another request, or this one made the first
		case c.accepted():
			op.Want = platform.WantFinished
		case c.status == http.StatusBadGateway && c.outcome() == "rejected":
			op.Want = platform.WantFailed
		case publishes[c.requestID] > 0:
			op.Want = platform.WantClosed
		}
		list = append(list, op)
	}
	return list
}

// publishes counts the starts and stops that the Events API took, by request id.
func (r *rig) publishes() map[string]int {
	counts := map[string]int{}
	for _, name := range []string{platform.StartRequest, platform.StopRequest} {
		for _, p := range r.Events.Published(name) {
			var body struct {
				RequestID string `json:"request_id"`
			}
			_ = json.Unmarshal(p.Payload, &body) // the worker says what is wrong with it
			counts[body.RequestID]++
		}
	}
	return counts
}

// replies is what the worker said, by operation: the first that says anything.
func (r *rig) replies() map[string]string {
	said := map[string]string{}
	for _, name := range []string{platform.StartRequest, platform.StopRequest} {
		for _, p := range r.Events.Published(platform.ReplyName(name)) {
			var body struct {
				Accepted bool            `json:"accepted"`
				Error    json.RawMessage `json:"error"`
			}
			outcome := ""
			switch err := json.Unmarshal(p.Payload, &body); {
			case err == nil && body.Error != nil:
				outcome = "rejected"
			case err == nil && body.Accepted:
				outcome = "accepted"
			}
			if said[p.CorrelationID] == "" {
				said[p.CorrelationID] = outcome
			}
		}
	}
	return said
}

// check holds the answers, the store and the records of the platform to each other.
func (r *rig) check() {
	r.t.Helper()
	breaches := r.Check(r.operations()...)
	report := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	statuses := map[string]int{}
	publishes, joined := r.publishes(), r.joined()
	for _, c := range r.calls {
		statuses[fmt.Sprint(c.status, " ", c.outcome())]++
		switch n := publishes[c.requestID]; {
		case c.err != nil && !c.gateway.killed.Load():
			report("%s: no answer: %v", c, c.err)
		case n > 1:
			report("%s: published %d times", c, n)
		case n == 1 && c.outcome() == "not_sent":
			report("%s: published", c)
		case n == 0 && (c.accepted() || c.outcome() == "rejected") && !c.replayed() && !joined[c.requestID]:
			report("%s: not published", c)
		case (c.status == http.StatusOK) != strings.Contains(c.body, map[string]string{start: `"state":"ready"`, stop: `"state":"stopped"`}[c.action]):
			report("%s: another state than that it leads to", c)
		case c.status == http.StatusOK && c.wait == 0:
			report("%s: its caller did not wait", c)
		}
	}
	r.checkOutcomes(report)
	for i, g := range r.gateways {
		if strings.Contains(g.log.String(), "DATA RACE") || strings.Contains(g.log.String(), "BUG:") {
			report("gateway %d:\n%s", i, g.log)
		}
	}
	for i, breach := range breaches {
		if r.t.Error(breach); i == 5 {
			r.t.Errorf("and %d more", len(breaches)-i)
			break
		}
	}
	assert.NotEmpty(r.t, r.calls, "the test made no write")
	r.t.Logf("%d writes: %v", len(r.calls), statuses)
}

// joined are the requests that had the outcome of another one.
func (r *rig) joined() map[string]bool {
	joined := map[string]bool{}
	rows, err := r.db.Query(`select request_id from operations where leader <> ''`)
	require.NoError(r.t, err)
	defer rows.Close()
	for rows.Next() {
		var requestID string
		require.NoError(r.t, rows.Scan(&requestID))
		joined[requestID] = true
	}
	require.NoError(r.t, rows.Err())
	return joined
}

// checkOutcomes: each operation is in the store once, ended as the worker replied,
// and its last record says the same.
func (r *rig) checkOutcomes(report func(string, ...any)) {
	said, last, seen := r.replies(), map[string]string{}, map[string]string{}
	for _, record := range r.Usage.Records() {
		if outcome, ended := record.Data["outcome"].(string); ended {
			last[record.RequestID] = outcome
		}
	}
	rows, err := r.db.Query(`select id, case when leader <> '' then leader else id end, request_id, outcome from operations where action <> ''`)
	require.NoError(r.t, err)
	defer rows.Close()
	for rows.Next() {
		var id, sent, requestID, outcome string
		require.NoError(r.t, rows.Scan(&id, &sent, &requestID, &outcome))
		switch reply := said[sent]; {
		case seen[requestID] != "":
			report("request %s has the operations %s and %s", requestID, seen[requestID], id)
		case reply != "" && reply != outcome && (id == sent || outcome != "not_sent"):
			report("operation %s of request %s ended as %s, and the worker said %s", id, requestID, outcome, reply)
		case reply == "" && outcome != "unknown" && outcome != "not_sent":
			report("operation %s of request %s ended as %s, and the worker said nothing", id, requestID, outcome)
		case last[requestID] != outcome:
			report("operation %s of request %s ended as %s, and its last record says %s", id, requestID, outcome, last[requestID])
		}
		seen[requestID] = id
	}
	require.NoError(r.t, rows.Err())
}
