package faults

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The caller is answered at the deadline; the reply that comes later completes
// the record, whatever it says, as long as LateReply has not passed.
func TestReplyAfterTheDeadline(t *testing.T) {
	const together = 9
	type row struct {
		behaviour      platform.Behaviour
		lateReply      string
		phase, outcome string
	}
	rows(t, map[string]row{
		"accepts":              {platform.Behaviour{}, "20s", "finished", "accepted"},
		"accepts, twice":       {platform.Behaviour{Duplicate: 2}, "20s", "finished", "accepted"},
		"refuses":              {refuses(platform.EventError{Code: "no_capacity", Message: "none left"}), "20s", "failed", "rejected"},
		"malformed":            {says(`{}`), "300ms", "failed", "unknown"},
		"too late":             {platform.Behaviour{}, "100ms", "failed", "unknown"},
		"never":                {platform.Behaviour{Silent: true}, "300ms", "failed", "unknown"},
		"not even carried out": {platform.Behaviour{Deaf: true}, "300ms", "failed", "unknown"},
		"late replies are off": {platform.Behaviour{}, "0s", "failed", "unknown"},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(hurried, "BUS_VM_LATE_REPLY="+c.lateReply)
		c.behaviour.Names, c.behaviour.Hold = starts, 1<<20
		r.vmBehaves(c.behaviour)
		writes := r.published(func() *call { return r.write(g, start) }, together)
		for _, w := range writes {
			r.want(w, http.StatusServiceUnavailable, unavailable)
		}
		if c.outcome == "unknown" {
			r.wantRecords(writes, c.phase, c.outcome)
			r.VM.Release()
			r.vmBehaves()
			r.back(g) // and nothing changes any more: the rig's check looks
			return
		}
		r.VM.Release()
		r.wantRecords(writes, c.phase, c.outcome)
	})
}

// Nonsense is answered at once, and says nothing of what the worker did: a
// reply that makes sense completes the record, as after no reply at all.
func TestSenseAfterNonsense(t *testing.T) {
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
