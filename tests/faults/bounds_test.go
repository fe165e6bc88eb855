package faults

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

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
