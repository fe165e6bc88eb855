package faults

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Of two workers one says no and the other accepts, under one correlation id: no
// status from before the acceptance is shown.
func TestAcceptanceAfterARefusal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway("BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
	r.vmBehaves(platform.Behaviour{Names: []string{platform.StartRequest}, Refuse: &platform.EventError{Code: "not_mine", Message: "no"}})
	for range 2 {
		r.want(r.read(g), http.StatusOK, "")
	}
	r.want(r.write(g, start), http.StatusBadGateway, "not_mine")
	var id string
	for _, p := range r.Events.Published(platform.StartRequest) {
		id = p.CorrelationID
	}
	r.VM.SetState(platform.StateStarting)
	vm := platform.NewClient(r.URL(), platform.Token(eventsSecret, platform.Claims{Scope: "vm:read vm:write vm:status vm:worker events:send events:listen " + platform.ProviderScope}))
	defer vm.Close()
	if _, err := vm.Publish(context.Background(), platform.Message{Name: platform.ReplyName(platform.StartRequest), CorrelationID: id, Payload: map[string]any{"accepted": true}}); err != nil {
		t.Log("publish as provider:", err)
	}
	g.awaitMetric(`bus_vm_events_replies_total{event="bus.vm.start.response",match="duplicate"}`, func(v float64) bool { return v > 0 })
	read := r.want(r.read(g), http.StatusOK, "")
	if !strings.Contains(read.answer.body, platform.StateStarting) {
		t.Errorf("after an accepting reply: %s", read.answer.body)
	}
}

// The Events API restarts without its history while a status request is in
// flight: the status is asked for again, and reads go on.
func TestRestartWithAStatusInFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Silent: true})
	var first sync.WaitGroup
	n := r.Events.Accepted(platform.StatusRequest)
	first.Go(func() { r.read(g) })
	r.await("asked", func(ctx context.Context) error { return r.Events.WaitAccepted(ctx, platform.StatusRequest, n+1) })
	time.Sleep(300 * time.Millisecond)
	must(t, r.Events.Kill())
	r.up(false)
	r.vmBehaves()
	r.await("ready", r.WaitReady)
	r.connected()
	c := r.read(g)
	first.Wait()
	if c.ended.Sub(c.began) > 5*time.Second {
		t.Errorf("the first read after the restart: %d after %v", c.status, c.ended.Sub(c.began))
	}
}

// Streams that are lost all the time do not starve the reads that wait.
func TestReadsWhileStreamsFlap(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string][]string{
		"lifecycle": {platform.ReplyName(platform.StartRequest), platform.ReplyName(platform.StopRequest)},
		"status":    {platform.ReplyName(platform.StatusRequest)},
		"all":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway("BUS_VM_TIMEOUT=8s")
			r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: 200 * time.Millisecond})
			quit := make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				for {
					select {
					case <-quit:
						return
					case <-time.After(60 * time.Millisecond):
						r.Events.CutStreams(cut...)
					}
				}
			})
			var mu sync.Mutex
			counts, longest := map[int]int{}, time.Duration(0)
			for i := range 3 {
				reads := 0
				all.Go(func() {
					during(4*time.Second, steady, func() {
						c := r.read(g)
						mu.Lock()
						counts[c.status]++
						longest = max(longest, c.ended.Sub(c.began))
						mu.Unlock()
						if reads++; i == 0 && reads%5 == 1 {
							r.write(g, []string{start, stop}[reads%2])
						}
					})
				})
			}
			time.Sleep(4 * time.Second)
			close(quit)
			all.Wait()
			if counts[http.StatusOK] == 0 || len(counts) != 1 || longest > 4*time.Second {
				t.Errorf("%v, the longest took %v", counts, longest)
			}
		})
	}
}
