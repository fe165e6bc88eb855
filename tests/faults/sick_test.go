package faults

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The Events API is up and sick. Each row says what a start meets while it is,
// what became of it, where that is certain, and whether it may reach the API's log
// of events all the same. TestLifecycleWorker and TestBillingWorker have the outcomes
// of workers at fault. A 5xx refuses nothing: it may be a proxy's (see
// TestPublishAnsweredByAProxy).
func TestSickEvents(t *testing.T) {
	only := func(f platform.Faults, names ...string) platform.Faults { f.Names = names; return f }
	startReply := platform.ReplyName(platform.StartRequest)
	replies := allReplies()
	const waited = "BUS_VM_TIMEOUT=10s" // in vain, after billing has answered
	type row struct {
		faults    platform.Faults
		timeout   string
		status    int
		outcome   string // of a failed write
		published bool
		cut       bool // the open reply streams meet it as well
	}
	rows(t, map[string]row{
		"slow":                      {platform.Faults{Delay: 150 * time.Millisecond}, unhurried, 202, "", true, false},
		"500 to publishes":          {platform.Faults{PublishStatus: 500}, hurried, 503, notSent, false, false},
		"500 to starts":             {only(platform.Faults{PublishStatus: 500}, platform.StartRequest), waited, 503, unknown, false, false},
		"503 to starts":             {only(platform.Faults{PublishStatus: 503}, platform.StartRequest), waited, 503, unknown, false, false},
		"429 to starts":             {only(platform.Faults{PublishStatus: 429}, platform.StartRequest), unhurried, 503, notSent, false, false},
		"400 to starts":             {only(platform.Faults{PublishStatus: 400}, platform.StartRequest), unhurried, 503, notSent, false, false},
		"413 to starts":             {only(platform.Faults{PublishStatus: 413}, platform.StartRequest), unhurried, 503, notSent, false, false},
		"400 to billing":            {only(platform.Faults{PublishStatus: 400}, platform.EntitlementRequest), unhurried, 503, notSent, false, false},
		"500 with garbage":          {platform.Faults{PublishStatus: 500, GarbageBody: true}, hurried, 503, "", false, false},
		"garbage body":              {only(platform.Faults{GarbageBody: true}, platform.StartRequest), unhurried, 202, "", true, false},
		"garbage HTTP":              {only(platform.Faults{GarbageHTTP: true}, platform.StartRequest), waited, 503, unknown, false, false},
		"garbage HTTP, everywhere":  {platform.Faults{GarbageHTTP: true}, hurried, 503, "", false, false},
		"cut after processing":      {only(platform.Faults{CutPublish: true}, platform.StartRequest), unhurried, 202, "", true, false},
		"all cut after processing":  {platform.Faults{CutPublish: true}, unhurried, 202, "", true, false},
		"stalled":                   {platform.Faults{Stall: true}, hurried, 503, "", false, false},
		"stalled starts":            {only(platform.Faults{Stall: true}, platform.StartRequest), hurried, 503, "", false, false},
		"stalled replies":           {only(platform.Faults{Stall: true}, startReply), hurried, 503, "", true, false},
		"half-open":                 {platform.Faults{HalfOpen: true}, hurried, 503, "", false, false},
		"half-open replies":         {only(platform.Faults{HalfOpen: true}, startReply), hurried, 503, "", true, false},
		"500 to new listeners":      {platform.Faults{ListenStatus: 500}, unhurried, 202, "", true, false},
		"garbage to new listeners":  {only(platform.Faults{GarbageBody: true}, startReply), unhurried, 202, "", true, false},
		"500, and streams cut":      {platform.Faults{ListenStatus: 500}, hurried, 503, notSent, false, true},
		"garbage, and streams cut":  {only(platform.Faults{GarbageBody: true}, replies...), hurried, 503, "", true, true},
		"no HTTP, and streams cut":  {only(platform.Faults{GarbageHTTP: true}, replies...), hurried, 503, "", false, true},
		"stalled, and streams cut":  {only(platform.Faults{Stall: true}, replies...), hurried, 503, "", false, true},
		"half of all goes wrong":    {platform.Faults{PublishStatus: 500, GarbageHTTP: true, CutPublish: true, Rate: .2}, hurried, 0, "", false, false},
		"half of all, slow and cut": {platform.Faults{Delay: 10 * time.Millisecond, CutPublish: true, CutLine: true, Rate: .3}, hurried, 0, "", false, false},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(c.timeout)
		r.back(g)
		r.Events.SetFaults(c.faults)
		if c.cut {
			r.Events.CutStreams(replies...)
		}
		before := r.Events.Accepted(platform.StartRequest)
		end := r.callers(g, 2)
		w := r.write(g, start)
		end()
		if c.status != 0 {
			r.want(w, c.status, map[int]string{503: unavailable}[c.status])
			assert.True(t, c.outcome == "" || w.failure().Outcome == c.outcome, "%s, want %s", w, c.outcome)
			assert.True(t, c.published || r.Events.Accepted(platform.StartRequest) == before, "a start was published")
		}
		r.heal()
		r.onlyStatuses(http.StatusAccepted, http.StatusServiceUnavailable)
		r.back(g)
		if c.faults.PublishStatus > 0 && slices.Equal(c.faults.Names, starts) {
			r.wantRecord(w, "failed", c.outcome)
		}
	})
}

// back makes writes until one is accepted: the gateway is well again.
func (r *rig) back(g *gateway) {
	r.t.Helper()
	back := func() bool { return r.write(g, start).status == http.StatusAccepted }
	require.True(r.t, eventually(back), "no write is accepted any more:\n%s", g.log)
}

// A stream that went half-open loses the reply. The deadline of the write
// makes the client suspect the stream; opened again, its history has the reply,
// and the record is completed.
func TestHalfOpenStreamIsFoundOut(t *testing.T) {
	r := newRig(t)
	g := r.gateway("BUS_VM_TIMEOUT=3s", "BUS_VM_LATE_REPLY=20s")
	reply := platform.ReplyName(platform.StartRequest)
	r.Events.SetFaults(platform.Faults{Names: []string{reply}, HalfOpen: true})
	writes, answered := r.together(1, func(int) *call { return r.write(g, start) })
	r.awaitAccepted(reply, 1)
	r.Events.SetFaults(platform.Faults{})
	answered.Wait()
	r.wantRecord(r.want(writes[0], http.StatusServiceUnavailable, unavailable), "finished", "accepted")
	r.back(g)
}

// wantRecord waits until a write is on record with that end. A correction may
// follow it.
func (r *rig) wantRecord(c *call, phase, outcome string) {
	r.t.Helper()
	var records []platform.UsageRecord
	require.True(r.t, eventually(func() bool { records = r.Usage.RecordsFor(c.requestID); return len(records) >= 2 }),
		"%s: records %+v\n%s", c, records, c.gateway.log)
	assert.Equal(r.t, "runtime_"+c.action+"_"+phase, records[1].EventType, c)
	assert.Equal(r.t, outcome, records[1].Data["outcome"], c)
}

// A stalled API holds publishes, and carries them out when their callers have
// long been answered: the records are completed by the late replies.
func TestStallIsLifted(t *testing.T) {
	r := newRig(t)
	g := r.gateway("BUS_VM_TIMEOUT=3s", "BUS_VM_LATE_REPLY=20s")
	r.Events.SetFaults(platform.Faults{Names: []string{platform.StartRequest, platform.StopRequest}, Stall: true})
	writes, answered := r.together(20, func(i int) *call { return r.write(g, []string{start, stop}[i%2]) })
	answered.Wait()
	r.Events.SetFaults(platform.Faults{})
	for _, w := range writes {
		r.wantRecord(r.want(w, http.StatusServiceUnavailable, unavailable), "finished", "accepted")
	}
}

// What the reply streams may look like. Rows without losses must not be felt
// by any caller; where lines are lost, callers get 503 and records their end.
func TestLines(t *testing.T) {
	type row struct {
		faults platform.Faults
		loses  bool
	}
	rows(t, map[string]row{
		"garbage lines":           {platform.Faults{GarbageLines: true}, false},
		"blank lines":             {platform.Faults{Blank: true}, false},
		"CR LF":                   {platform.Faults{CRLF: true}, false},
		"unknown members":         {platform.Faults{Unknown: true}, false},
		"correlation_id":          {platform.Faults{SnakeID: true}, false},
		"both spellings":          {platform.Faults{SnakeID: true, BothIDs: true}, false},
		"twice":                   {platform.Faults{Duplicate: true}, false},
		"foreign replies":         {platform.Faults{Foreign: 20}, false},
		"out of order":            {platform.Faults{Reorder: 5}, false},
		"1 MB":                    {platform.Faults{LongLine: 1 << 20}, false},
		"all of it":               {platform.Faults{GarbageLines: true, Blank: true, CRLF: true, Unknown: true, SnakeID: true, BothIDs: true, Duplicate: true, Foreign: 2, Reorder: 3, LongLine: 100_000, Rate: .5}, false},
		"8 MB":                    {platform.Faults{LongLine: 8 << 20}, true},
		"8 MB, some":              {platform.Faults{LongLine: 8 << 20, Rate: .1}, true},
		"truncated":               {platform.Faults{Truncate: true}, true},
		"truncated, some":         {platform.Faults{Truncate: true, Rate: .1}, true},
		"cut in the middle, some": {platform.Faults{CutLine: true, Rate: .2}, true},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		timeout, callers := unhurried, 3
		if c.loses {
			timeout = hurried
		}
		if c.faults.LongLine > 1<<20 {
			callers = 0 // each line costs the platform dearly
		}
		g := r.gateway(timeout)
		r.Events.SetFaults(c.faults)
		end := r.callers(g, callers)
		for range 3 {
			r.write(g, start)
			r.read(g)
		}
		end()
		r.heal()
		r.back(g)
		if c.loses {
			r.onlyStatuses(http.StatusAccepted, http.StatusServiceUnavailable)
		} else {
			r.onlyStatuses(http.StatusAccepted)
		}
	})
}
