package faults

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Two gateways under one identity share what they learn: a write through one
// takes down what the other shows, which no refresh would do in this test.
func TestReplicasInvalidateEachOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.common = []string{"BUS_VM_STATUS_MAX_AGE=1h", "BUS_VM_STATUS_REFRESH=1h", "BUS_VM_STATUS_REFRESH_MOVING=1h"}
	one, other := r.begin(within, r.home()), r.begin(within, r.home())
	r.connected()
	shows := func(g *gateway, state string) bool {
		read := r.want(r.read(g), http.StatusOK, "")
		return strings.Contains(read.answer.body, `"state":"`+state+`"`)
	}
	state := platform.StateStopped
	for round := range 4 {
		writer, reader := one, other
		if round >= 2 {
			writer, reader = other, one
		}
		for _, g := range []*gateway{one, other} {
			if !shows(g, state) {
				t.Fatalf("round %d: not %s at first", round, state)
			}
		}
		action := start
		if state = platform.StateReady; round%2 == 1 {
			action, state = stop, platform.StateStopped
		}
		before, _ := reader.metric("bus_vm_snapshot_invalidations_total")
		r.wantWrite(writer, action, http.StatusAccepted, "")
		if !shows(writer, state) {
			t.Errorf("round %d: the writer shows an old state", round)
		}
		// The reader hears the reply on a stream of its own.
		reader.awaitMetric("bus_vm_snapshot_invalidations_total", func(v float64) bool { return v > before })
		if !shows(reader, state) {
			t.Errorf("round %d: the other replica shows an old state", round)
		}
	}
}

// A replica does not take another's replies for its own, and one that dies
// under way leaves the other alone.
func TestReplicaDies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mortal, other := r.begin(process, r.home()), r.begin(within, r.home())
	r.connected()
	r.vmBehaves(platform.Behaviour{Names: []string{platform.StartRequest, platform.StopRequest}, Hold: 8, Echo: true})
	theirs, ours := r.callers(mortal, 4), r.callers(other, 4)
	ctx, cancel := patiently()
	defer cancel()
	must(t, r.Events.WaitAccepted(ctx, platform.StartRequest, 4))
	mortal.kill()
	mortal.wait()
	theirs.end()
	r.vmBehaves()
	ours.end()
	for _, c := range r.book.writes {
		if c.gateway == other && c.status != http.StatusAccepted {
			t.Errorf("%s", c)
		}
	}
	r.wantWrite(other, start, http.StatusAccepted, "")
}

// A status that an earlier life asked for may come after a restart. It may have
// been observed before a write that was accepted in that life, so it is not
// shown.
func TestStatusOfAnEarlierLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.common = []string{"BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m"}
	first := r.begin(process, r.home())
	r.connected()
	status := []string{platform.StatusRequest}
	r.vmBehaves(platform.Behaviour{Names: status, Hold: 1 << 20, Times: 1}, platform.Behaviour{Names: status, Deaf: true})
	var reader sync.WaitGroup
	reader.Go(func() { r.read(first) })
	r.await("the question", func(ctx context.Context) error { return r.VM.WaitAsked(ctx, platform.StatusRequest, 1) })
	r.wantWrite(first, start, http.StatusAccepted, "")
	first.kill()
	first.wait()
	reader.Wait()

	second := r.begin(within, first.home)
	r.connected()
	r.vmBehaves() // releases the answer, which says stopped
	r.await("the answer", func(ctx context.Context) error {
		return r.Events.WaitAccepted(ctx, platform.ReplyName(platform.StatusRequest), 1)
	})
	second.awaitMetric(`bus_vm_events_replies_total{event="bus.vm.status.response",match="unmatched"}`, func(v float64) bool { return v >= 1 })
	if read := r.want(r.read(second), http.StatusOK, ""); !strings.Contains(read.answer.body, `"state":"ready"`) {
		t.Errorf("%s", read)
	}
}
