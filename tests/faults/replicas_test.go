package faults

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Two gateways under one identity share what they learn: a write through one
// takes down what both show, which no refresh would do in this test. It does so once:
// a second time would drop the status that has been asked for since.
func TestReplicasInvalidateEachOther(t *testing.T) {
	r := newRig(t)
	r.common = []string{"BUS_VM_STATUS_MAX_AGE=1h", "BUS_VM_STATUS_REFRESH=1h", "BUS_VM_STATUS_REFRESH_MOVING=1h"}
	one, other := r.begin(within, r.home()), r.begin(within, r.home())
	r.connected()
	shows := func(g *gateway, state string, round int) {
		t.Helper()
		read := r.want(r.read(g), http.StatusOK, "")
		require.Contains(t, read.answer.body, `"state":"`+state+`"`, "round %d", round)
	}
	before, after := platform.StateStopped, platform.StateReady
	for round := range 4 {
		writer, reader := one, other
		if round >= 2 {
			writer, reader = other, one
		}
		shows(one, before, round)
		shows(other, before, round)
		const invalidations = "bus_vm_snapshot_invalidations_total"
		own, _ := writer.metric(invalidations)
		seen, _ := reader.metric(invalidations)
		r.wantWrite(writer, []string{start, stop}[round%2], http.StatusAccepted, "")
		shows(writer, after, round)
		// The reader hears the reply on a stream of its own.
		reader.awaitMetric(invalidations, func(v float64) bool { return v > seen })
		shows(reader, after, round)
		for g, n := range map[*gateway]float64{writer: own, reader: seen} {
			now, _ := g.metric(invalidations)
			assert.Equal(t, n+1, now, "round %d: invalidations", round)
		}
		before, after = after, before
	}
}

// A status that an earlier life asked for may come after a restart. It may have
// been observed before a write that was accepted in that life, so it is not
// shown.
func TestStatusOfAnEarlierLife(t *testing.T) {
	r := newRig(t)
	r.common = []string{"BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m"}
	first := r.begin(process, r.home())
	r.connected()
	status := []string{platform.StatusRequest}
	r.vmBehaves(platform.Behaviour{Names: status, Hold: 1 << 20, Times: 1}, platform.Behaviour{Names: status, Deaf: true})
	var reader sync.WaitGroup
	reader.Go(func() { r.read(first) })
	r.awaitAsked(platform.StatusRequest, 1)
	r.wantWrite(first, start, http.StatusAccepted, "")
	first.kill()
	first.wait()
	reader.Wait()

	second := r.begin(within, first.home)
	r.connected()
	r.vmBehaves() // releases the answer, which says stopped
	r.awaitAccepted(platform.ReplyName(platform.StatusRequest), 1)
	second.awaitMetric(`bus_vm_events_replies_total{event="bus.vm.status.response",match="unmatched"}`, func(v float64) bool { return v >= 1 })
	assert.Contains(t, r.want(r.read(second), http.StatusOK, "").answer.body, `"state":"ready"`)
}
