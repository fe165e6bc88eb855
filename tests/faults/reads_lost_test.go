package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/harness"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// A process that was suspended for longer than the maximum age finds requests
// in its sockets when it goes on, before any timer of its own. No answer shows
// a status from before: another replica's start was accepted meanwhile.
func TestSuspendedProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("whether a process has stopped is read from /proc")
	}
	const (
		maxAge  = 500 * time.Millisecond
		callers = 400
		// More than there are: the scheduler then serves many sockets before it
		// comes to the timers.
		processors = "GOMAXPROCS=8"
	)
	r := newRig(t)
	r.common = []string{"BUS_VM_STATUS_MAX_AGE=500ms", "BUS_VM_STATUS_REFRESH=500ms", "BUS_VM_STATUS_REFRESH_MOVING=500ms"}
	g, other := r.begin(process, r.home(), processors), r.begin(within, r.home())
	r.connected()
	states := map[string]string{start: platform.StateReady, stop: platform.StateStopped}
	for round, action := range []string{start, stop, start, stop, start, stop} {
		conns := make([]net.Conn, callers)
		for i := range conns {
			var err error
			conns[i], err = harness.Dial(context.Background(), g.addr)
			require.NoError(t, err)
		}
		for range 2 {
			r.want(r.read(g), http.StatusOK, "")
		}
		g.suspend()
		suspended := time.Now()
		r.wantWrite(other, action, http.StatusAccepted, "")
		reads := make([]*call, callers)
		for i, conn := range conns {
			reads[i] = newCall(g, status)
			reads[i].began = time.Now()
			_, err := io.WriteString(conn, reads[i].raw())
			require.NoError(t, err)
		}
		// How long it is suspended is the fault itself.
		time.Sleep(time.Until(suspended.Add(maxAge + 200*time.Millisecond)))
		g.resume()
		_, answered := r.together(callers, func(i int) *call {
			reads[i].answer, reads[i].ended = receive(conns[i]), time.Now()
			return reads[i]
		})
		answered.Wait()
		trace, old := r.trace(), 0
		for _, read := range reads {
			r.book.add(read)
			e, known := trace.requestOf(r.want(read, http.StatusOK, ""))
			if !known || e.At.Before(suspended) || !strings.Contains(read.answer.body, `"state":"`+states[action]+`"`) {
				old++
			}
		}
		assert.Zero(t, old, "round %d: of %d reads so many show a status from before a write that was accepted", round, callers)
	}
}

// A replica that cannot hear whether writes are accepted shows no status from
// before a read began: each read asks, while status requests still work.
func TestReadsWithoutLifecycleStreams(t *testing.T) {
	startReply, stopReply := platform.ReplyName(platform.StartRequest), platform.ReplyName(platform.StopRequest)
	rows(t, map[string][]string{
		"start": {startReply}, "stop": {stopReply}, "both": {startReply, stopReply},
	}, func(t *testing.T, lost []string) {
		r := newRig(t)
		g := r.gateway("BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
		require.Contains(t, r.want(r.read(g), http.StatusOK, "").answer.body, `"state":"stopped"`)
		r.Events.SetFaults(platform.Faults{Names: lost, ListenStatus: http.StatusInternalServerError})
		r.Events.CutStreams(lost...)
		for _, reply := range lost {
			g.awaitMetric(fmt.Sprintf("bus_vm_events_stream_up{event=%q}", reply), zero)
		}
		r.foreignWrite(platform.StartRequest)
		for i := range 3 {
			read := r.want(r.read(g), http.StatusOK, "")
			e, known := r.trace().requestOf(read)
			assert.True(t, known && e.At.After(read.began), "read %d: asked for before the read: %s", i, read)
			assert.Contains(t, read.answer.body, `"state":"ready"`, "read %d: from before the start", i)
		}
		// Reads that wait together share a question.
		before := r.Events.Accepted(platform.StatusRequest)
		r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: 200 * time.Millisecond})
		const together = 20
		reads, answered := r.together(together, func(int) *call { return r.read(g) })
		answered.Wait()
		for _, read := range reads {
			r.expect("read", read, http.StatusOK, "")
		}
		assert.LessOrEqual(t, r.Events.Accepted(platform.StatusRequest)-before, together/2, "status requests")
		r.Events.SetFaults(platform.Faults{})
		r.connected()
		r.wantWrite(g, stop, http.StatusAccepted, "")
	})
}

// Without the streams no reply can be heard, so no read can have a status that
// was asked for after it began: reads are refused, however young the last
// status is.
func TestReadsWhileEventsIsAway(t *testing.T) {
	rows(t, map[string]func(*platform.Events) error{
		"stopped": (*platform.Events).Stop, "killed": (*platform.Events).Kill,
	}, func(t *testing.T, away func(*platform.Events) error) {
		r := newRig(t)
		g := r.gateway("BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
		r.want(r.read(g), http.StatusOK, "")
		require.NoError(t, away(r.Events))
		for _, request := range []string{platform.StartRequest, platform.StopRequest} {
			g.awaitMetric(streamUp(request), zero)
		}
		for range 2 {
			r.wantTook(r.want(r.read(g), http.StatusServiceUnavailable, unavailable), 0, soon)
		}
		r.up(true)
		r.await("workers", r.WaitReady)
		r.connected()
		r.want(r.read(g), http.StatusOK, "")
		r.wantWrite(g, start, http.StatusAccepted, "")
	})
}

// foreignWrite makes a write by another provider under the same identity, and
// returns once the worker's reply is there.
func (r *rig) foreignWrite(name string) {
	r.t.Helper()
	account := uuid.NewString()
	ask := func(name string, payload map[string]string) {
		r.t.Helper()
		replies := r.Events.Accepted(platform.ReplyName(name))
		r.publish(name, uuid.NewString(), payload)
		r.awaitAccepted(platform.ReplyName(name), replies+1)
	}
	ask(platform.EntitlementRequest, map[string]string{"account_id": account, "scope": "vm:write"})
	ask(name, map[string]string{"runtime": "default", "account_id": account, "request_id": uuid.NewString()})
}

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
	for _, accepted := range []bool{false, true} {
		r.publish(platform.ReplyName(platform.StartRequest), id, map[string]any{"accepted": accepted})
	}
	g.awaitMetric(`bus_vm_events_replies_total{event="bus.vm.start.response",match="duplicate"}`, func(v float64) bool { return v > 1 })
	read := r.want(r.read(g), http.StatusOK, "")
	assert.Contains(t, read.answer.body, platform.StateStarting, "after an accepting reply")
	told := g.awaitLog(regexp.MustCompile(`level=WARN msg="a reply contradicts the record of its operation[^"]*" operation=` + id + ` recorded=rejected `))
	assert.NotNil(t, told, "operators learn that the runtime may run unbilled")
	assert.Equal(t, 1, strings.Count(g.log.all(), "contradicts the record"), "the refusal that came again does not")
}

// The Events API restarts without its history while a status request is in
// flight: the status is asked for again, and reads go on.
func TestRestartWithAStatusInFlight(t *testing.T) {
	r := newRig(t)
	g := r.gateway()
	r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Silent: true})
	r.wantWrite(g, start, http.StatusAccepted, "")
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
		defer all.Wait()
		ctx, quit := context.WithCancel(t.Context())
		defer quit()
		for i := range 3 {
			reads := 0
			all.Go(func() {
				harness.Every(ctx, steady, func() {
					r.expect("read", r.read(g), http.StatusOK, "") // within the timeout
					if reads++; i == 0 && reads%5 == 1 {
						r.write(g, []string{start, stop}[reads%2])
					}
				})
			})
		}
		for range 20 {
			r.Events.CutStreams(cut...)
			time.Sleep(60 * time.Millisecond) // how often they are lost, on a machine that opens them as fast
			r.connected()
		}
	})
}
