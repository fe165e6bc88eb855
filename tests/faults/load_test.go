package faults

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	loadRounds = 10 // of replies that each caller gets
	megabyte   = 1 << 20
)

// loadCallers is how many calls are in flight at a time: 1,000, and fewer under
// the race detector, which is after the order of things and not their number.
func loadCallers() int {
	if harness.RaceFlags() != nil {
		return 200
	}
	return 1000
}

// crowd makes calls at the same time, all of which a worker holds back.
type crowd struct {
	*rig
	worker *platform.Worker
	names  []string // of the requests that are held
	size   int
	shed   atomic.Int64 // calls that the gateway refused for want of room
}

// round makes one call each, lets the worker answer all of them at once, in a
// random order, and returns the calls that it answered.
func (c *crowd) round(each func(i int) *call) (answered []*call) {
	c.t.Helper()
	before, shedBefore := c.published(), c.shed.Load()
	calls, callers := c.together(c.size, func(i int) *call {
		one := each(i)
		if strings.Contains(one.failure().Message, "cannot be reached now") {
			c.shed.Add(1)
		}
		return one
	})
	all := func() bool { return c.published()-before+int(c.shed.Load()-shedBefore) == c.size }
	assert.True(c.t, eventually(all) && eventually(func() bool { return c.asked() == c.published() }),
		"%d of %d calls were published, %d reached the worker in all", c.published()-before, c.size, c.asked())
	c.worker.Release()
	callers.Wait()
	for _, call := range calls {
		if call.status != http.StatusServiceUnavailable {
			answered = append(answered, call)
		}
	}
	lost := int64(c.size-len(answered)) - (c.shed.Load() - shedBefore)
	assert.LessOrEqual(c.t, lost, int64(0), "calls lost their reply:\n%s", calls[0].gateway.log)
	return answered
}

// published and asked count the requests that left the gateway, and those that
// reached the worker.
func (c *crowd) published() int { return c.sum(c.Events.Accepted) }

func (c *crowd) asked() int { return c.sum(func(name string) int { return len(c.worker.Asked(name)) }) }

func (c *crowd) sum(of func(name string) int) (n int) {
	for _, name := range c.names {
		n += of(name)
	}
	return n
}

// 1,000 writes wait at once; their replies come together in a random order,
// half of them refusals that name their request. Then 10,000 entitlement checks
// find 10,000 replies, 1,000 of them held back at a time and let go in a random
// order, twice each and among replies to other requests. Every caller gets its own, and
// the process is as large after the last thousand as after the first.
func TestLoad(t *testing.T) {
	size := loadCallers()
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_VM_LOG_LEVEL=info", "BUS_VM_TIMEOUT=50s")
	r.connected()

	noCapacity := refuses(platform.EventError{Code: "no_capacity", Message: "none left for"})
	noCapacity.Hold, noCapacity.Rate = 1<<20, .5
	r.vmBehaves(noCapacity, platform.Behaviour{Hold: 1 << 20})
	writes := &crowd{rig: r, worker: r.VM.Worker, names: []string{platform.StartRequest, platform.StopRequest}, size: size}
	for _, w := range writes.round(func(i int) *call { return r.write(g, []string{start, stop}[i%2]) }) {
		if w.status == http.StatusBadGateway {
			r.wantOwn(w)
		}
	}
	counts := r.book.statuses()
	assert.GreaterOrEqual(t, min(counts[http.StatusAccepted], counts[http.StatusBadGateway]), size/4, counts)
	g.awaitDelivered()

	r.Billing.Decide("", platform.Decision{Reason: "quota_exceeded"})
	r.Billing.SetBehaviour(platform.Behaviour{Hold: 1 << 20, Duplicate: 1, Echo: true})
	r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.EntitlementRequest)}, Foreign: 1, Rate: .2, Reorder: 50})
	checks := &crowd{rig: r, worker: r.Billing.Worker, names: []string{platform.EntitlementRequest}, size: size}
	var first, last float64
	for round := range loadRounds {
		for _, w := range checks.round(func(int) *call { return r.write(g, start) }) {
			var usage struct {
				AccountID string `json:"account_id"`
			}
			_ = json.Unmarshal(w.failure().Usage, &usage) // compared below
			r.expect("check", w, http.StatusPaymentRequired, "quota_exceeded")
			assert.Equal(t, w.account, usage.AccountID)
		}
		last, _ = g.metric("process_resident_memory_bytes")
		if round == 0 {
			first = last
		}
	}
	t.Logf("resident: %.0f MB after the first round, %.0f MB after the last", first/megabyte, last/megabyte)
	allowance := 64.0 * megabyte
	if harness.RaceFlags() != nil {
		allowance *= 4 // the detector remembers
	}
	assert.NotZero(t, first)
	assert.LessOrEqual(t, last, first+allowance, "the process grew")
	assert.LessOrEqual(t, writes.shed.Load()+checks.shed.Load(), int64(size), "calls were refused for want of room")
	g.awaitMetric("bus_vm_events_requests_in_flight", zero)
	// fasthttp keeps a worker for each connection of late for some seconds.
	g.awaitMetric("go_goroutines", func(v float64) bool { return v < float64(size+200) })
	r.Billing.Decide("", platform.Decision{Allowed: true})
}

// Fault after fault in one process: goroutines, open files and memory are where
// they were before.
func TestFaultsLeaveNothingBehind(t *testing.T) {
	r := newRig(t)
	g := r.begin(process, r.home(), hurried, "BUS_VM_LOG_LEVEL=info", "BUS_VM_LATE_REPLY=300ms")
	r.connected()
	// Usage is left alone: its retries would take most of the time.
	var names []string
	for _, request := range requests {
		if request != platform.UsageRequest {
			names = append(names, request, platform.ReplyName(request))
		}
	}
	round := func() {
		for _, f := range []platform.Faults{
			{CutPublish: true, Rate: .5},
			{GarbageHTTP: true, Rate: .2},
			{PublishStatus: 500},
			{GarbageLines: true, Foreign: 5, Duplicate: true},
			{LongLine: 8 << 20, Rate: .05},
		} {
			f.Names = names
			r.Events.SetFaults(f)
			end := r.callers(g, 4)
			r.write(g, start)
			end()
			r.Events.CutStreams()
		}
		require.NoError(t, r.Events.Kill())
		r.up(true)
		r.heal()
		r.back(g)
		g.awaitDelivered()
		g.awaitMetric("bus_vm_events_requests_in_flight", zero)
	}
	measure := func() map[string]float64 {
		values := map[string]float64{}
		for name := range allowances {
			values[name], _ = g.metric(name)
		}
		return values
	}
	round()
	before := measure()
	for range 3 {
		round()
	}
	var after map[string]float64
	assert.True(t, eventually(func() bool {
		after = measure()
		for name, allowance := range allowances {
			if before[name] == 0 || after[name] > before[name]+allowance {
				return false
			}
		}
		return true
	}))
	t.Logf("before %v, after %v", before, after)
}

// allowances are by how much each may differ: idle connections come and go.
var allowances = map[string]float64{
	"go_goroutines":                 30,
	"process_open_fds":              30,
	"process_resident_memory_bytes": 48 * megabyte,
}
