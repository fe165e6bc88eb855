package faults

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// sickness is a fault, and whether the open reply streams meet it as well.
type sickness struct {
	faults platform.Faults
	cut    bool
}

// The Events API is up and sick. Each row says what a start meets while it is,
// and whether it may reach the API's log of events all the same.
func TestSickEvents(t *testing.T) {
	t.Parallel()
	whole := func(f platform.Faults) sickness { return sickness{faults: f} }
	only := func(f platform.Faults, names ...string) sickness { f.Names = names; return whole(f) }
	cut := func(s sickness) sickness { s.cut = true; return s }
	startReply := platform.ReplyName(platform.StartRequest)
	replies := allReplies()
	for name, c := range map[string]struct {
		sickness
		timeout   string
		status    int
		kind      string
		published bool
	}{
		"slow":                      {whole(platform.Faults{Delay: 150 * time.Millisecond}), unhurried, 202, "", true},
		"500 to publishes":          {whole(platform.Faults{PublishStatus: 500}), unhurried, 503, unavailable, false},
		"500 to starts":             {only(platform.Faults{PublishStatus: 500}, platform.StartRequest), unhurried, 503, unavailable, false},
		"429 to starts":             {only(platform.Faults{PublishStatus: 429}, platform.StartRequest), unhurried, 503, unavailable, false},
		"400 to starts":             {only(platform.Faults{PublishStatus: 400}, platform.StartRequest), unhurried, 503, unavailable, false},
		"500 with garbage":          {whole(platform.Faults{PublishStatus: 500, GarbageBody: true}), unhurried, 503, unavailable, false},
		"garbage body":              {only(platform.Faults{GarbageBody: true}, platform.StartRequest), unhurried, 202, "", true},
		"garbage HTTP":              {only(platform.Faults{GarbageHTTP: true}, platform.StartRequest), hurried, 503, unavailable, false},
		"garbage HTTP, everywhere":  {whole(platform.Faults{GarbageHTTP: true}), hurried, 503, unavailable, false},
		"cut after processing":      {only(platform.Faults{CutPublish: true}, platform.StartRequest), unhurried, 202, "", true},
		"all cut after processing":  {whole(platform.Faults{CutPublish: true}), unhurried, 202, "", true},
		"stalled":                   {whole(platform.Faults{Stall: true}), hurried, 503, unavailable, false},
		"stalled starts":            {only(platform.Faults{Stall: true}, platform.StartRequest), hurried, 503, unavailable, false},
		"stalled replies":           {only(platform.Faults{Stall: true}, startReply), hurried, 503, unavailable, true},
		"half-open":                 {whole(platform.Faults{HalfOpen: true}), hurried, 503, unavailable, false},
		"half-open replies":         {only(platform.Faults{HalfOpen: true}, startReply), hurried, 503, unavailable, true},
		"500 to new listeners":      {whole(platform.Faults{ListenStatus: 500}), unhurried, 202, "", true},
		"garbage to new listeners":  {only(platform.Faults{GarbageBody: true}, startReply), unhurried, 202, "", true},
		"500, and streams cut":      {cut(whole(platform.Faults{ListenStatus: 500})), hurried, 503, unavailable, false},
		"garbage, and streams cut":  {cut(only(platform.Faults{GarbageBody: true}, replies...)), hurried, 503, unavailable, true},
		"no HTTP, and streams cut":  {cut(only(platform.Faults{GarbageHTTP: true}, replies...)), hurried, 503, unavailable, false},
		"stalled, and streams cut":  {cut(only(platform.Faults{Stall: true}, replies...)), hurried, 503, unavailable, false},
		"half of all goes wrong":    {whole(platform.Faults{PublishStatus: 500, GarbageHTTP: true, CutPublish: true, Rate: .2}), hurried, 0, "", false},
		"half of all, slow and cut": {whole(platform.Faults{Delay: 10 * time.Millisecond, CutPublish: true, CutLine: true, Rate: .3}), hurried, 0, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway(c.timeout)
			r.back(g)
			r.Events.SetFaults(c.faults)
			if c.cut {
				r.Events.CutStreams(replies...)
			}
			before := r.Events.Accepted(platform.StartRequest)
			tr := r.callers(g, 2)
			w := r.write(g, start)
			tr.end()
			if c.status != 0 {
				r.want(w, c.status, c.kind)
				if published := r.Events.Accepted(platform.StartRequest) > before; published && !c.published {
					t.Error("a start was published")
				}
			}
			r.heal()
			r.onlyStatuses(http.StatusAccepted, http.StatusServiceUnavailable)
			r.back(g)
		})
	}
}

// A write whose publish is refused has done nothing, and its record says so. A
// 5xx refuses nothing: it may be a proxy's (see TestPublishAnsweredByAProxy).
func TestRefusedPublishIsOnRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	for status, outcome := range map[int]string{400: notSent, 413: notSent, 429: notSent, 500: unknown, 503: unknown} {
		r.Events.SetFaults(platform.Faults{Names: []string{platform.StartRequest}, PublishStatus: status})
		r.wantRecord(r.wantWrite(g, start, http.StatusServiceUnavailable, unavailable), "failed", outcome)
	}
	r.Events.SetFaults(platform.Faults{})
	r.wantWrite(g, start, http.StatusAccepted, "")
}

// back makes writes until one is accepted: the gateway is well again.
func (r *rig) back(g *gateway) {
	r.t.Helper()
	if !eventually(func() bool { return r.write(g, start).status == http.StatusAccepted }) {
		r.t.Fatalf("no write is accepted any more:\n%s", tail(g.log.String()))
	}
}

// A stream that went half-open loses the reply. The deadline of the write
// makes the client doubt the stream; opened again, its history has the reply,
// and the record is completed.
func TestHalfOpenStreamIsFoundOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway("BUS_VM_TIMEOUT=3s", "BUS_VM_LATE_REPLY=20s")
	reply := platform.ReplyName(platform.StartRequest)
	r.Events.SetFaults(platform.Faults{Names: []string{reply}, HalfOpen: true})
	answered := make(chan *call, 1)
	go func() { answered <- r.write(g, start) }()
	r.await("the reply", func(ctx context.Context) error { return r.Events.WaitAccepted(ctx, reply, 1) })
	r.Events.SetFaults(platform.Faults{})
	w := r.want(<-answered, http.StatusServiceUnavailable, unavailable)
	r.wantRecord(w, "finished", "accepted")
	r.back(g)
}

// wantRecord waits until a write is on record with that end. A correction may
// follow it.
func (r *rig) wantRecord(c *call, phase, outcome string) {
	r.t.Helper()
	var records []platform.UsageRecord
	if !eventually(func() bool { records = r.Usage.RecordsFor(c.requestID); return len(records) >= 2 }) {
		r.t.Fatalf("%s: records %+v\n%s", c, records, tail(c.gateway.log.String()))
	}
	end := records[1]
	if end.EventType != "runtime_"+c.action+"_"+phase || end.Data["outcome"] != outcome {
		r.t.Errorf("%s: on record as %s, outcome %v; want %s, %s", c, end.EventType, end.Data["outcome"], phase, outcome)
	}
}

// A stalled API holds publishes, and carries them out when their callers have
// long been answered: the records are completed by the late replies.
func TestStallIsLifted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway("BUS_VM_TIMEOUT=3s", "BUS_VM_LATE_REPLY=20s")
	r.Events.SetFaults(platform.Faults{Names: []string{platform.StartRequest, platform.StopRequest}, Stall: true})
	calls := make(chan *call, 20)
	for i := range cap(calls) {
		go func() { calls <- r.write(g, []string{start, stop}[i%2]) }()
	}
	var writes []*call
	for range cap(calls) {
		writes = append(writes, r.want(<-calls, http.StatusServiceUnavailable, unavailable))
	}
	r.Events.SetFaults(platform.Faults{})
	for _, w := range writes {
		r.wantRecord(w, "finished", "accepted")
	}
}
