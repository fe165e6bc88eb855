package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// echoed is the correlation id of the status request that a read shows the
// answer to: the worker puts it there.
func (a answer) echoed() string {
	var document struct {
		Status struct {
			Details struct {
				CorrelationID string `json:"correlation_id"`
			}
		}
	}
	_ = json.Unmarshal([]byte(a.body), &document) // judged by flaw
	return document.Status.Details.CorrelationID
}

// during calls each at a steady pace until the time is over, and returns when
// the last call has.
func during(total, pace time.Duration, each func()) {
	ctx, cancel := context.WithTimeout(context.Background(), total)
	defer cancel()
	harness.Every(ctx, pace, each)
}

// A status worker that takes its time, and a caller who repeats a start faster
// than it answers: every read is answered all the same, and the worker is asked
// one question after the other.
func TestReadsDuringRepeatedWrites(t *testing.T) {
	const (
		total  = 4 * time.Second
		slow   = 500 * time.Millisecond
		repeat = 300 * time.Millisecond
		most   = 3 // questions during a read: two that it waits for, and one before the gateway has it
	)
	type row struct {
		behaviour platform.Behaviour
		status    int
		kind      string
	}
	rows(t, map[string]row{
		"accepted": {platform.Behaviour{}, http.StatusAccepted, ""},
		"rejected": {refuses(platform.EventError{Code: "no_capacity", Message: "none left"}), http.StatusBadGateway, "no_capacity"},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway("BUS_VM_TIMEOUT=6s")
		r.vmBehaves(toStarts(c.behaviour), platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: slow})
		var callers sync.WaitGroup
		began := time.Now()
		callers.Go(func() {
			during(total, repeat, func() {
				r.expect("write", r.write(g, start), c.status, c.kind)
			})
		})
		for range 2 {
			callers.Go(func() {
				during(total, steady, func() {
					r.expect("read", r.read(g), http.StatusOK, "")
				})
			})
		}
		callers.Wait()
		took := time.Since(began)
		assert.LessOrEqual(t, r.Events.Accepted(platform.StatusRequest), int(took/slow)+2, "status requests in %v", took)
		trace := r.trace()
		for _, read := range r.book.reads {
			shown, ok := trace.requestOf(read)
			require.True(t, ok, "%s: no request for that status", read)
			asked := 0 // since it began, up to what it shows
			for _, e := range trace.all[:shown.at+1] {
				if e.Name == platform.StatusRequest && e.At.After(read.began) {
					asked++
				}
			}
			assert.LessOrEqual(t, asked, most, "status requests that %s waited for", read)
		}
	})
}

// Replicas that are read all the time ask for statuses of their own, at their
// own pace: what another asked for is never shown and makes no question due.
func TestReplicasRefreshAtTheirOwnPace(t *testing.T) {
	const (
		replicas = 3
		refresh  = 2 * time.Second
		total    = 5 * time.Second
	)
	r := newRig(t)
	r.common = []string{"BUS_VM_STATUS_MAX_AGE=10s", fmt.Sprintf("BUS_VM_STATUS_REFRESH=%v", refresh), fmt.Sprintf("BUS_VM_STATUS_REFRESH_MOVING=%v", refresh)}
	for range replicas {
		r.begin(within, r.home())
	}
	r.connected()
	before := r.Events.Accepted(platform.StatusRequest)
	began := time.Now()
	var callers sync.WaitGroup
	for _, g := range r.running() {
		callers.Go(func() {
			// Each answer differs from all others: the worker echoes its request.
			during(total, steady, func() { r.expect("read", r.read(g), http.StatusOK, "") })
		})
	}
	callers.Wait()
	took := time.Since(began)
	asked := r.Events.Accepted(platform.StatusRequest) - before
	assert.LessOrEqual(t, asked, replicas*(int(took/refresh)+2), "status requests in %v", took)
	// Nothing is shown to one that another asked for.
	first := map[string]*gateway{}
	trace := r.trace()
	for _, read := range r.book.reads {
		e, ok := trace.requestOf(read)
		require.True(t, ok, "%s: no request for that status", read)
		asker := cmp.Or(first[e.CorrelationID], read.gateway)
		require.Same(t, asker, read.gateway, "two replicas show the answer to one request: %s", read)
		first[e.CorrelationID] = asker
	}
	r.wantWrite(r.running()[0], start, http.StatusAccepted, "")
}
