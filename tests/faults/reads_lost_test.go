package faults

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// A process that was suspended for longer than the maximum age finds requests
// in its sockets when it goes on, before any timer of its own. No answer shows
// a status from before: another replica's start was accepted meanwhile.
func TestSuspendedProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("whether a process has stopped is read from /proc")
	}
	t.Parallel()
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
			conns[i], err = dial(g.addr)
			must(t, err)
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
			r.keepOut(reads[i].token)
			reads[i].began = time.Now()
			_, err := io.WriteString(conn, reads[i].raw())
			must(t, err)
		}
		// How long it is suspended is the fault itself.
		time.Sleep(time.Until(suspended.Add(maxAge + 200*time.Millisecond)))
		g.resume()
		var answered sync.WaitGroup
		for i, conn := range conns {
			answered.Go(func() { reads[i].answer, reads[i].ended = receive(conn), time.Now() })
		}
		answered.Wait()
		trace, old := r.trace(), 0
		for _, read := range reads {
			r.book.add(read)
			e, known := trace.requestOf(r.want(read, http.StatusOK, ""))
			if !known || e.At.Before(suspended) || !strings.Contains(read.answer.body, `"state":"`+states[action]+`"`) {
				old++
			}
		}
		if old > 0 {
			t.Errorf("round %d: %d of %d reads show a status older than %v, from before a start that was accepted", round, old, callers, maxAge)
		}
	}
}

// A replica that cannot hear whether writes are accepted shows no status from
// before a read began: each read asks, while status requests still work.
func TestReadsWithoutLifecycleStreams(t *testing.T) {
	t.Parallel()
	startReply, stopReply := platform.ReplyName(platform.StartRequest), platform.ReplyName(platform.StopRequest)
	for name, lost := range map[string][]string{
		"start": {startReply}, "stop": {stopReply}, "both": {startReply, stopReply},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway("BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
			if read := r.want(r.read(g), http.StatusOK, ""); !strings.Contains(read.answer.body, `"state":"stopped"`) {
				t.Fatalf("%s", read)
			}
			r.Events.SetFaults(platform.Faults{Names: lost, ListenStatus: http.StatusInternalServerError})
			r.Events.CutStreams(lost...)
			for _, reply := range lost {
				g.awaitMetric(`bus_vm_events_stream_up{event="`+reply+`"}`, zero)
			}
			r.foreignWrite(platform.StartRequest)
			for i := range 3 {
				read := r.want(r.read(g), http.StatusOK, "")
				if e, known := r.trace().requestOf(read); !known || e.At.Before(read.began) {
					t.Errorf("read %d: asked for before the read: %s", i, read)
				}
				if !strings.Contains(read.answer.body, `"state":"ready"`) {
					t.Errorf("read %d: from before the start: %s", i, read)
				}
			}
			// Reads that wait together share a question.
			before := r.Events.Accepted(platform.StatusRequest)
			r.vmBehaves(platform.Behaviour{Names: []string{platform.StatusRequest}, Delay: 200 * time.Millisecond})
			const together = 20
			var callers sync.WaitGroup
			for range together {
				callers.Go(func() {
					if read := r.read(g); read.status != http.StatusOK {
						t.Errorf("%s", read)
					}
				})
			}
			callers.Wait()
			if asked := r.Events.Accepted(platform.StatusRequest) - before; asked > together/2 {
				t.Errorf("%d reads at a time made %d status requests", together, asked)
			}
			r.Events.SetFaults(platform.Faults{})
			r.connected()
			r.wantWrite(g, stop, http.StatusAccepted, "")
		})
	}
}

// Without the streams no reply can be heard, so no read can have a status that
// was asked for after it began: reads are refused, however young the last
// status is.
func TestReadsWhileEventsIsAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*platform.Events) error{
		"stopped": (*platform.Events).Stop, "killed": (*platform.Events).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway("BUS_VM_STATUS_MAX_AGE=1m", "BUS_VM_STATUS_REFRESH=1m", "BUS_VM_STATUS_REFRESH_MOVING=1m")
			r.want(r.read(g), http.StatusOK, "")
			must(t, away(r.Events))
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
}

// foreignWrite makes a write by another provider under the same identity, and
// returns once the worker's reply is there.
func (r *rig) foreignWrite(name string) {
	r.t.Helper()
	provider := platform.NewClient(r.URL(), platform.Token(eventsSecret, platform.Claims{Scope: platform.ProviderScope}))
	defer provider.Close()
	account := uuid.NewString()
	ask := func(name string, payload map[string]string) {
		r.t.Helper()
		replies := r.Events.Accepted(platform.ReplyName(name))
		ctx, cancel := patiently()
		defer cancel()
		_, err := provider.Publish(ctx, platform.Message{Name: name, CorrelationID: uuid.NewString(), Payload: payload})
		must(r.t, err)
		r.await("the reply to "+name, func(ctx context.Context) error {
			return r.Events.WaitAccepted(ctx, platform.ReplyName(name), replies+1)
		})
	}
	ask(platform.EntitlementRequest, map[string]string{"account_id": account, "scope": "vm:write"})
	ask(name, map[string]string{"runtime": "default", "account_id": account, "request_id": uuid.NewString()})
}
