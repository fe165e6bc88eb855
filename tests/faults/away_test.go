package faults

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const unavailable = "backend_unavailable"

func TestHealthy(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"within": within, "process": process} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.begin(k, r.home())
			r.connected()
			r.wantWrite(g, start, http.StatusAccepted, "")
			tr := r.callers(g, 4)
			r.wantWrite(g, stop, http.StatusAccepted, "")
			tr.end()
		})
	}
}

// Without an Events API the gateway starts, says that it is not ready, refuses
// everything before any work, and is well as soon as the API is there.
func TestEventsAbsentAtStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	must(t, r.Events.Stop())
	g := r.begin(within, r.home(), "BUS_EVENTS_LISTENER_REQUIRED=1")

	if status := g.ready(); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", status)
	}
	live := exchange(g.addr, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if live.status != http.StatusOK {
		t.Errorf("/livez: %d %s", live.status, live.body)
	}
	r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
	r.wantWrite(g, stop, http.StatusServiceUnavailable, unavailable)
	r.want(r.read(g), http.StatusServiceUnavailable, unavailable)

	r.up(true)
	r.await("workers", r.WaitReady)
	if !eventually(func() bool { return g.ready() == http.StatusOK }) {
		t.Fatalf("not ready:\n%s", g.log)
	}
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.want(r.read(g), http.StatusOK, "")
}

// An API that takes connections and says nothing is as good as none.
func TestEventsStalledAtStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Events.SetFaults(platform.Faults{Names: append(allReplies(), requests...), Stall: true})
	g := r.begin(within, r.home(), "BUS_EVENTS_LISTENER_REQUIRED=1")
	r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
	if g.ready() != http.StatusServiceUnavailable {
		t.Error("ready without a stream")
	}
	r.Events.SetFaults(platform.Faults{})
	r.connected()
	if g.ready() != http.StatusOK {
		t.Error("not ready with all streams")
	}
	r.wantWrite(g, start, http.StatusAccepted, "")
}

// /readyz names each stream that is missing, and only those.
func TestReadinessNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	missing := platform.ReplyName(platform.EntitlementRequest)
	r.Events.SetFaults(platform.Faults{Names: []string{missing}, ListenStatus: http.StatusInternalServerError})
	g := r.begin(within, r.home(), "BUS_EVENTS_LISTENER_REQUIRED=1")
	r.await("the other streams", func(ctx context.Context) error {
		return r.Events.WaitListeners(ctx, platform.ReplyName(platform.UsageRequest), 1)
	})
	var body string
	if !eventually(func() bool {
		a := exchange(g.addr, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		body = a.body
		return a.status == http.StatusServiceUnavailable && strings.Contains(body, missing) && strings.Count(body, ".response") == 1
	}) {
		t.Fatalf("/readyz: %s", body)
	}
	r.Events.SetFaults(platform.Faults{})
	if !eventually(func() bool { return g.ready() == http.StatusOK }) {
		t.Fatal("not ready after the stream came up")
	}
	r.wantWrite(g, start, http.StatusAccepted, "")
}

// With the streams of replies only partly there, a write that would find no
// reply is refused before billing is asked or anything is recorded, and any
// other goes on.
func TestSomeStreamsAreDown(t *testing.T) {
	t.Parallel()
	for _, action := range []string{start, stop} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			down := map[string]string{start: platform.StartRequest, stop: platform.StopRequest}[action]
			r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(down)}, ListenStatus: http.StatusInternalServerError})
			g := r.begin(within, r.home())
			for _, name := range requests {
				if name != down {
					g.awaitMetric(streamUp(name), func(v float64) bool { return v == 1 })
				}
			}
			other := map[string]string{start: stop, stop: start}[action]
			r.wantWrite(g, other, http.StatusAccepted, "")
			before := r.Events.Accepted(platform.EntitlementRequest)
			for range 3 {
				w := r.wantWrite(g, action, http.StatusServiceUnavailable, unavailable)
				if !containsText(w.failure().Message, "nothing was done") {
					t.Errorf("%s", w)
				}
			}
			if asked := r.Events.Accepted(platform.EntitlementRequest) - before; asked != 0 {
				t.Errorf("billing was asked %d times", asked)
			}
			g.awaitMetric("bus_vm_outbox_records", zero)
			if n, _ := g.metric("bus_vm_outbox_writes_total"); n != 2 {
				t.Errorf("%v writes to the outbox, want the 2 of the accepted one", n)
			}
			r.Events.SetFaults(platform.Faults{})
			if !eventually(func() bool { return r.write(g, action).status == http.StatusAccepted }) {
				t.Errorf("no %s is accepted any more", action)
			}
		})
	}
}

// The Events API goes away under traffic and comes back, with its history or
// without. Every caller gets 202 or 503, and nothing on record is lost.
func TestEventsGoAwayUnderTraffic(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		down func(*platform.Events) error
		keep bool
	}{
		"killed":                   {(*platform.Events).Kill, true},
		"killed, history lost":     {(*platform.Events).Kill, false},
		"stopped":                  {(*platform.Events).Stop, true},
		"stopped, history lost":    {(*platform.Events).Stop, false},
		"streams cut, never stops": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway(hurried)
			tr := r.callers(g, 6)
			for round := 1; round <= 2; round++ {
				r.await("starts", func(ctx context.Context) error {
					return r.Events.WaitAccepted(ctx, platform.StartRequest, 10*round)
				})
				if c.down == nil {
					r.Events.CutStreams()
					continue
				}
				must(t, c.down(r.Events))
				r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
				r.up(c.keep)
			}
			r.await("workers", r.WaitReady)
			r.connected()
			tr.end()
			r.onlyStatuses(http.StatusAccepted, http.StatusServiceUnavailable)
			r.back(g)
		})
	}
}

// Replies that are published while the streams are away are found in the
// history when they are back, and every caller still gets its own.
func TestRepliesInTheGap(t *testing.T) {
	t.Parallel()
	const inFlight = 20
	for name, away := range map[string]func(*rig, []string){
		"streams refused": func(r *rig, replies []string) {
			r.Events.SetFaults(platform.Faults{Names: replies, ListenStatus: http.StatusInternalServerError})
			r.Events.CutStreams(replies...)
		},
		"API restarted": func(r *rig, replies []string) {
			must(r.t, r.Events.Kill())
			r.Events.SetFaults(platform.Faults{Names: replies, ListenStatus: http.StatusInternalServerError})
			r.up(true)
			r.await("workers", r.WaitReady)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway()
			writes, callers := r.underWay(g, inFlight, refuses(platform.EventError{Code: "no_capacity", Message: "none left for"}))
			// A usage request that the kill takes from its worker would be sent
			// again only after the time-out.
			g.awaitMetric("bus_vm_outbox_delivered_total", func(v float64) bool { return v == inFlight })
			away(r, allReplies())
			r.VM.Release()
			r.await("replies", func(ctx context.Context) error {
				return r.Events.WaitAccepted(ctx, platform.ReplyName(platform.StartRequest), inFlight)
			})
			r.Events.SetFaults(platform.Faults{})
			callers.Wait()
			for _, w := range writes {
				r.want(w, http.StatusBadGateway, "no_capacity")
				r.wantOwn(w)
			}
		})
	}
}

// allReplies are the names of all reply streams.
func allReplies() (names []string) {
	for _, request := range requests {
		names = append(names, platform.ReplyName(request))
	}
	return names
}

// onlyStatuses wants no other statuses than these, and at least one 202.
func (r *rig) onlyStatuses(allowed ...int) {
	r.t.Helper()
	counts := r.book.statuses()
	if counts[http.StatusAccepted] == 0 {
		r.t.Errorf("no write was accepted: %v", counts)
	}
	for _, status := range allowed {
		delete(counts, status)
	}
	if len(counts) > 0 {
		r.t.Errorf("writes were answered %v besides", counts)
	}
}

// With BUS_EVENTS_LISTENER_RETRY off, the loss of a stream ends the process.
func TestListenerRetryOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway("BUS_EVENTS_LISTENER_RETRY=0")
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.Events.CutStreams(platform.ReplyName(platform.StopRequest))
	r.wantEnd(g, 1, "BUS_EVENTS_LISTENER_RETRY")
}

// wantEnd wants a gateway to end by itself, with one line that holds words.
func (r *rig) wantEnd(g *gateway, code int, words ...string) {
	r.t.Helper()
	got := g.wait()
	last := g.log.lastWords()
	if got != code || len(last) != 1 {
		r.t.Fatalf("exit code %d and %d last lines, want %d and one:\n%s", got, len(last), code, g.log)
	}
	for _, word := range words {
		if !strings.Contains(last[0], word) {
			r.t.Errorf("the last line does not say %q: %s", word, last[0])
		}
	}
}
