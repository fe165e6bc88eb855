package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const unavailable = "backend_unavailable"

// Without an Events API, or with one that takes connections and says nothing,
// the gateway starts, says that it is not ready, refuses everything before any
// work, and is well as soon as the API is there.
func TestNoEventsAtStart(t *testing.T) {
	type row struct{ away, back func(*rig) }
	rows(t, map[string]row{
		"absent": {func(r *rig) { require.NoError(r.t, r.Events.Stop()) }, func(r *rig) {
			r.up(true)
			r.await("workers", r.WaitReady)
		}},
		"stalled": {
			func(r *rig) {
				r.Events.SetFaults(platform.Faults{Names: append(allReplies(), requests...), Stall: true})
			},
			func(r *rig) { r.Events.SetFaults(platform.Faults{}) },
		},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		c.away(r)
		g := r.begin(within, r.home(), "BUS_EVENTS_LISTENER_REQUIRED=1")
		assert.Equal(t, http.StatusServiceUnavailable, g.ready())
		assert.Equal(t, http.StatusOK, g.get("/livez").status)
		r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
		r.wantWrite(g, stop, http.StatusServiceUnavailable, unavailable)
		r.want(r.read(g), http.StatusServiceUnavailable, unavailable)
		c.back(r)
		g.awaitReady()
		r.wantWrite(g, start, http.StatusAccepted, "")
		r.want(r.read(g), http.StatusOK, "")
	})
}

// With BUS_EVENTS_LISTENER_REQUIRED an instance gets no traffic from 2 s after it
// lost a stream to 2 s after it has them all again. A loss that is shorter, even
// of all streams, changes nothing.
func TestReadinessFollowsTheStreams(t *testing.T) {
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_EVENTS_LISTENER_REQUIRED=1")
	g.awaitReady()
	for range 3 {
		r.Events.CutStreams()
		during(time.Second, 10*time.Millisecond, func() { assert.Equal(t, http.StatusOK, g.ready(), "all streams came back at once") })
		r.connected()
	}
	// turns waits for another status of /readyz since a change of the streams.
	turns := func(status int, since time.Time) {
		t.Helper()
		require.True(t, eventually(func() bool { return g.ready() == status }), "not %d:\n%s", status, g.log)
		took := time.Since(since)
		t.Logf("%d after %s", status, took.Round(time.Millisecond))
		assert.True(t, 2*time.Second <= took && took <= soon, "%d after %s, want 2 s", status, took)
	}
	lost := time.Now()
	r.Events.SetFaults(platform.Faults{Names: allReplies(), ListenStatus: http.StatusInternalServerError})
	r.Events.CutStreams()
	turns(http.StatusServiceUnavailable, lost)
	back := time.Now()
	r.Events.SetFaults(platform.Faults{})
	turns(http.StatusOK, back)
	r.wantWrite(g, start, http.StatusAccepted, "")
}

// Without it readiness does not look at Events. The start-up line says so, and
// the operators' page lists the streams all the same.
func TestReadinessWithoutStreams(t *testing.T) {
	r := newRig(t)
	missing := platform.ReplyName(platform.StartRequest)
	r.Events.SetFaults(platform.Faults{Names: []string{missing}, ListenStatus: http.StatusInternalServerError})
	for _, required := range []string{"0", "1"} {
		g := r.begin(process, r.home(), "BUS_EVENTS_LISTENER_REQUIRED="+required)
		var page string
		require.True(t, eventually(func() bool {
			page = g.look("/readyz?verbose")
			return strings.Contains(page, "[-] stream "+missing+": ") && strings.Count(page, "[+] stream ") == len(requests)-1
		}), page)
		off := required == "0"
		assert.Equal(t, off, strings.Contains(page, "[+] readiness goes without reply streams (events.listener_required is off) ok\n"), page)
		assert.Equal(t, off, g.ready() == http.StatusOK)
		assert.Equal(t, off, strings.Contains(g.log.all(), "goes without reply streams"), g.log)
		r.wantWrite(g, stop, http.StatusAccepted, "")
	}
	r.Events.SetFaults(platform.Faults{})
}

// With the streams of replies only partly there, a write that would find no
// reply is refused before billing is asked or anything is recorded, and any
// other goes on. /readyz names each stream that is missing, and only those.
func TestSomeStreamsAreDown(t *testing.T) {
	each(t, []string{start, stop}, func(t *testing.T, action string) {
		r := newRig(t)
		down := map[string]string{start: platform.StartRequest, stop: platform.StopRequest}[action]
		missing := platform.ReplyName(down)
		r.Events.SetFaults(platform.Faults{Names: []string{missing}, ListenStatus: http.StatusInternalServerError})
		g := r.begin(within, r.home(), "BUS_EVENTS_LISTENER_REQUIRED=1")
		var ready answer
		require.True(t, eventually(func() bool {
			ready = g.get("/readyz")
			return ready.status == http.StatusServiceUnavailable && strings.Contains(ready.body, missing) && strings.Count(ready.body, ".response") == 1
		}), ready.body)
		other := map[string]string{start: stop, stop: start}[action]
		r.wantWrite(g, other, http.StatusAccepted, "")
		before := r.Events.Accepted(platform.EntitlementRequest)
		for range 3 {
			w := r.wantOutcome(r.write(g, action), http.StatusServiceUnavailable, unavailable, notSent)
			assert.Contains(t, w.failure().Message, "nothing was done")
		}
		assert.Equal(t, before, r.Events.Accepted(platform.EntitlementRequest), "billing was asked")
		g.awaitDelivered()
		g.awaitRows("(select 1 as n from operations)", 1) // the accepted one
		r.Events.SetFaults(platform.Faults{})
		assert.True(t, eventually(func() bool { return r.write(g, action).status == http.StatusAccepted }), "no %s is accepted any more", action)
		g.awaitReady()
	})
}

// The Events API goes away under traffic and comes back, with its history or
// without. Every caller gets 202 or 503, and nothing on record is lost.
func TestEventsGoAwayUnderTraffic(t *testing.T) {
	type row struct {
		down func(*platform.Events) error
		keep bool
	}
	rows(t, map[string]row{
		"killed":                   {(*platform.Events).Kill, true},
		"killed, history lost":     {(*platform.Events).Kill, false},
		"stopped":                  {(*platform.Events).Stop, true},
		"stopped, history lost":    {(*platform.Events).Stop, false},
		"streams cut, never stops": {nil, true},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(hurried)
		end := r.callers(g, 6)
		for round := 1; round <= 2; round++ {
			r.awaitAccepted(platform.StartRequest, 10*round)
			if c.down == nil {
				r.Events.CutStreams()
				continue
			}
			require.NoError(t, c.down(r.Events))
			r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable)
			r.up(c.keep)
		}
		r.await("workers", r.WaitReady)
		r.connected()
		end()
		r.onlyStatuses(http.StatusAccepted, http.StatusServiceUnavailable)
		r.back(g)
	})
}

// Replies that are published while the streams are away are found in the
// history when they are back, and every caller still gets its own.
func TestRepliesInTheGap(t *testing.T) {
	const inFlight = 20
	rows(t, map[string]func(*rig, []string){
		"streams refused": func(r *rig, replies []string) {
			r.Events.SetFaults(platform.Faults{Names: replies, ListenStatus: http.StatusInternalServerError})
			r.Events.CutStreams(replies...)
		},
		"API restarted": func(r *rig, replies []string) {
			require.NoError(r.t, r.Events.Kill())
			r.Events.SetFaults(platform.Faults{Names: replies, ListenStatus: http.StatusInternalServerError})
			r.up(true)
			r.await("workers", r.WaitReady)
		},
	}, func(t *testing.T, away func(*rig, []string)) {
		r := newRig(t)
		g := r.gateway()
		writes, callers := r.underWay(g, inFlight, refuses(platform.EventError{Code: "no_capacity", Message: "none left for"}))
		// A usage request that the kill takes from its worker would be sent
		// again only after the time-out.
		g.awaitMetric("bus_vm_usage_delivered_total", func(v float64) bool { return v == inFlight })
		away(r, allReplies())
		r.VM.Release()
		r.awaitAccepted(platform.ReplyName(platform.StartRequest), inFlight)
		r.Events.SetFaults(platform.Faults{})
		callers.Wait()
		for _, w := range writes {
			r.want(w, http.StatusBadGateway, "no_capacity")
			r.wantOwn(w)
		}
	})
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
	assert.NotZero(r.t, counts[http.StatusAccepted], "no write was accepted: %v", counts)
	for _, status := range allowed {
		delete(counts, status)
	}
	assert.Empty(r.t, counts, "other answers to writes")
}

// With BUS_EVENTS_LISTENER_RETRY off, the loss of a stream ends the process.
func TestListenerRetryOff(t *testing.T) {
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
	require.Equal(r.t, code, got, "exit code:\n%s", g.log)
	require.Len(r.t, last, 1, g.log)
	for _, word := range words {
		assert.Contains(r.t, last[0], word)
	}
}
