package faults

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Of two workers one says no and the other accepts, under one correlation id: no
// status from before the acceptance is shown.
func TestAcceptanceAfterARefusal(t *testing.T) {
	r := newRig(t)
	g := r.gateway("BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
	r.vmBehaves(toStarts(refuses(platform.EventError{Code: "not_mine", Message: "no"})))
	for range 2 {
		r.want(r.read(g), http.StatusOK, "")
	}
	r.wantWrite(g, start, http.StatusBadGateway, "not_mine")
	id := r.lifecyclePublishes()[0].CorrelationID
	r.VM.SetState(platform.StateStarting)
	r.publish(platform.ReplyName(platform.StartRequest), id, map[string]any{"accepted": true})
	g.awaitMetric(`bus_vm_events_replies_total{event="bus.vm.start.response",match="duplicate"}`, func(v float64) bool { return v > 0 })
	read := r.want(r.read(g), http.StatusOK, "")
	assert.Contains(t, read.answer.body, platform.StateStarting, "after an accepting reply")
}

// The Events API restarts without its history while a status request is in
// flight: the status is asked for again, and reads go on.
func TestRestartWithAStatusInFlight(t *testing.T) {
	r := newRig(t)
	g := r.gateway()
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Silent: true})
	var first sync.WaitGroup
	first.Go(func() { r.read(g) })
	asked, answered := platform.StatusRequest, platform.ReplyName(platform.StatusRequest)
	require.True(t, eventually(func() bool { return r.Events.Accepted(asked) > r.Events.Accepted(answered) }), "none is in flight")
	g.awaitMetric(`bus_vm_events_publishes_total{result="accepted"}`, func(answered float64) bool { // it waits for the reply alone
		for _, name := range requests {
			answered -= float64(r.Events.Accepted(name))
		}
		return answered >= 0
	})
	require.NoError(t, r.Events.Kill())
	r.up(false)
	r.vmBehaves()
	r.await("ready", r.WaitReady)
	r.connected()
	r.wantTook(r.read(g), 0, soon)
	first.Wait()
}

// Streams that are lost all the time do not starve the reads that wait.
func TestReadsWhileStreamsFlap(t *testing.T) {
	rows(t, map[string][]string{
		"lifecycle": {platform.ReplyName(platform.StartRequest), platform.ReplyName(platform.StopRequest)},
		"status":    {platform.ReplyName(platform.StatusRequest)},
		"all":       nil,
	}, func(t *testing.T, cut []string) {
		r := newRig(t)
		g := r.gateway("BUS_VM_TIMEOUT=8s")
		r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: 200 * time.Millisecond})
		var all sync.WaitGroup
		all.Go(func() { during(4*time.Second, 60*time.Millisecond, func() { r.Events.CutStreams(cut...) }) })
		for i := range 3 {
			reads := 0
			all.Go(func() {
				during(4*time.Second, steady, func() {
					c := r.read(g)
					r.expect("read", c, http.StatusOK, "")
					r.wantTook(c, 0, 4*time.Second)
					if reads++; i == 0 && reads%5 == 1 {
						r.write(g, []string{start, stop}[reads%2])
					}
				})
			})
		}
		all.Wait()
	})
}
