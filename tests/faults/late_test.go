package faults

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The caller is answered at the deadline; the reply that comes later completes
// the record, whatever it says. When LateReply has passed, the record says that
// the outcome is unknown, and a reply adds one that corrects it.
func TestReplyAfterTheDeadline(t *testing.T) {
	const together = 9
	noCapacity := refuses(platform.EventError{Code: "no_capacity", Message: "none left"})
	type row struct {
		behaviour                  platform.Behaviour
		lateReply                  string
		phase, outcome, correction string
	}
	rows(t, map[string]row{
		"accepts":              {platform.Behaviour{}, "20s", "finished", "accepted", ""},
		"accepts, twice":       {platform.Behaviour{Duplicate: 2}, "20s", "finished", "accepted", ""},
		"refuses":              {noCapacity, "20s", "failed", "rejected", ""},
		"malformed":            {says(`{}`), "300ms", "failed", "unknown", ""},
		"accepts, too late":    {platform.Behaviour{Duplicate: 1}, "100ms", "failed", "unknown", "accepted"},
		"refuses, too late":    {noCapacity, "100ms", "failed", "unknown", "rejected"},
		"never":                {platform.Behaviour{Silent: true}, "300ms", "failed", "unknown", ""},
		"not even carried out": {platform.Behaviour{Deaf: true}, "300ms", "failed", "unknown", ""},
		"late replies are off": {platform.Behaviour{}, "0s", "failed", "unknown", "accepted"},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(hurried, "BUS_VM_LATE_REPLY="+c.lateReply)
		c.behaviour.Names, c.behaviour.Hold = starts, 1<<20
		r.vmBehaves(c.behaviour)
		writes := r.published(func() *call { return r.write(g, start) }, together)
		for _, w := range writes {
			r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown)
		}
		if c.outcome == "unknown" {
			r.wantRecords(writes, c.phase, c.outcome)
		}
		r.VM.Release()
		r.wantRecords(writes, c.phase, c.outcome)
		r.vmBehaves()
		if c.correction != "" {
			r.wantCorrections(writes, c.correction)
		}
		r.back(g) // and nothing else changes any more: the rig's check looks
	})
}

// wantCorrections waits until each write has a record that corrects its end.
func (r *rig) wantCorrections(writes []*call, outcome string) {
	r.t.Helper()
	for _, w := range writes {
		var records []platform.UsageRecord
		require.True(r.t, eventually(func() bool { records = r.Usage.RecordsFor(w.requestID); return len(records) == 3 }),
			"%s: records %+v\n%s", w, records, w.gateway.log)
		assert.Equal(r.t, outcome, records[2].Data["outcome"], w)
		assert.Equal(r.t, records[1].EventID, records[2].Data["corrects"], w)
	}
}

// An operation outlives its process. Its end is what the worker says, whether the
// process ended in order or was killed, whether the reply finds the next one or
// came while there was none, and whether the caller waited in vain or was told by a
// proxy's 5xx.
func TestReplyAfterARestart(t *testing.T) {
	noCapacity := refuses(platform.EventError{Code: "no_capacity", Message: "none left"})
	type row struct {
		behaviour platform.Behaviour
		answer    int  // to the publish; 0 is the API's own
		killed    bool // or stopped
		while     bool // the reply comes while no process runs, or when the next one listens
		closed    bool // it is on record as unknown by then
	}
	rows(t, map[string]row{
		"SIGTERM, then accepted":          {platform.Behaviour{}, 0, false, false, false},
		"SIGTERM, accepted meanwhile":     {platform.Behaviour{}, 0, false, true, false},
		"kill -9, then accepted":          {platform.Behaviour{}, 0, true, false, false},
		"kill -9, accepted meanwhile":     {platform.Behaviour{}, 0, true, true, false},
		"SIGTERM, then refused":           {noCapacity, 0, false, false, false},
		"kill -9, refused meanwhile":      {noCapacity, 0, true, true, false},
		"500, SIGTERM, then accepted":     {platform.Behaviour{}, 500, false, false, false},
		"503, kill -9, then accepted":     {platform.Behaviour{}, 503, true, false, false},
		"524, accepted meanwhile":         {platform.Behaviour{}, 524, true, true, false},
		"closed, then accepted":           {platform.Behaviour{}, 0, false, false, true},
		"closed, kill -9, then meanwhile": {platform.Behaviour{}, 0, true, true, true},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		r.common = []string{hurried, "BUS_VM_LATE_REPLY=30s"}
		if c.closed {
			r.common[1] = "BUS_VM_LATE_REPLY=0s"
		}
		g := r.begin(process, r.home())
		r.connected()
		how := c.behaviour
		how.Names, how.Hold = starts, 1<<20
		r.vmBehaves(how)
		r.Events.SetFaults(platform.Faults{Names: starts, AnswerStatus: c.answer})
		writes := r.published(func() *call { return r.write(g, start) }, 3)
		for _, w := range writes {
			r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown)
		}
		r.awaitAsked(platform.StartRequest, len(writes))
		if c.closed {
			r.wantRecords(writes, "failed", "unknown")
		}
		if c.killed {
			g.kill()
			g.wait()
		} else {
			g.stop()
		}
		if c.while {
			r.VM.Release()
			r.awaitAccepted(platform.ReplyName(platform.StartRequest), len(writes))
		}
		r.begin(process, g.home)
		r.connected()
		r.VM.Release()
		switch {
		case c.closed:
			r.wantCorrections(writes, "accepted")
		case c.behaviour.Refuse != nil:
			r.wantRecords(writes, "failed", "rejected")
		default:
			r.wantRecords(writes, "finished", "accepted")
		}
	})
}

// A malformed reply is answered at once, and says nothing of what the worker did: a
// well-formed one completes the record, as after no reply at all.
func TestReplyAfterAMalformedOne(t *testing.T) {
	type row struct {
		reply          map[string]any
		phase, outcome string
	}
	rows(t, map[string]row{
		"accepts": {map[string]any{"accepted": true}, "finished", "accepted"},
		"refuses": {map[string]any{"accepted": false}, "failed", "rejected"},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway("BUS_VM_LATE_REPLY=20s")
		r.vmBehaves(toStarts(says(`{}`)))
		w := r.wantWrite(g, start, http.StatusBadGateway, "bad_gateway")
		r.publish(platform.ReplyName(platform.StartRequest), r.lifecyclePublishes()[0].CorrelationID, c.reply)
		r.wantRecord(w, c.phase, c.outcome)
	})
}

// published makes so many writes at a time and returns those that reached the
// Events API: on a busy machine some may run into their deadline before. There
// is at least one.
func (r *rig) published(write func() *call, together int) (reached []*call) {
	r.t.Helper()
	for range 5 {
		writes, callers := r.together(together, func(int) *call { return write() })
		callers.Wait()
		there := r.publishedWrites()
		for _, w := range writes {
			if there[w.requestID] {
				reached = append(reached, w)
			}
		}
		if len(reached) > 0 {
			return reached
		}
	}
	r.t.Fatal("no write was published")
	return nil
}

func (r *rig) wantRecords(writes []*call, phase, outcome string) {
	r.t.Helper()
	for _, w := range writes {
		r.wantRecord(w, phase, outcome)
	}
}

// Replies to others under the same identity, and replies that come again, late
// and early, in any order: every caller gets its own.
func TestRepliesToOtherRequests(t *testing.T) {
	const inFlight = 50
	r := newRig(t)
	g := r.gateway()
	r.vmBehaves(platform.Behaviour{
		Names: starts, Hold: inFlight, Duplicate: 1, Echo: true,
		Refuse: &platform.EventError{Code: "no_capacity", Message: "none left for"},
	})
	writes, callers := r.together(inFlight, func(int) *call { return r.write(g, start) })
	for i := range 20 {
		r.publish(platform.ReplyName(platform.StartRequest), uuid.NewString(), map[string]any{"accepted": true})
		r.publish(platform.ReplyName(platform.StartRequest), "", map[string]any{"accepted": true})
		r.publish(platform.ReplyName(platform.EntitlementRequest), uuid.NewString(), map[string]any{"allowed": i%2 == 0})
		r.publish(platform.ReplyName(platform.UsageRequest), uuid.NewString(), map[string]any{"error": "no"})
	}
	callers.Wait()
	for _, w := range writes {
		r.want(w, http.StatusBadGateway, "no_capacity")
		r.wantOwn(w)
	}
	// All of them again, now that no request waits.
	for _, e := range r.lifecyclePublishes() {
		r.publish(platform.ReplyName(e.Name), e.CorrelationID, map[string]any{"accepted": true})
	}
	r.wantWrite(g, stop, http.StatusAccepted, "")
}

// wantOwn wants the echo of the worker in a 502 to be about this very request.
func (r *rig) wantOwn(c *call) {
	r.t.Helper()
	assert.Contains(r.t, c.failure().Message, fmt.Sprintf("request %s of %s", c.requestID, c.account), "the answer of another")
}

// A reply may come before the publish has been answered.
func TestReplyBeforePublishReturns(t *testing.T) {
	r := newRig(t)
	g := r.gateway()
	r.Events.SetFaults(platform.Faults{
		Names: []string{platform.StartRequest, platform.EntitlementRequest, platform.UsageRequest}, Delay: 300 * time.Millisecond,
	})
	r.wantWrite(g, start, http.StatusAccepted, "")
	// Even when the answer never comes.
	r.Events.SetFaults(platform.Faults{Names: starts, CutPublish: true})
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.Events.SetFaults(platform.Faults{})
	r.awaitAsked(platform.StartRequest, 2)
}
