package faults

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// The caller is answered at the deadline; the reply that comes later completes
// the record, whatever it says, as long as LateReply has not passed.
func TestReplyAfterTheDeadline(t *testing.T) {
	t.Parallel()
	const together = 9
	for name, c := range map[string]struct {
		behaviour      platform.Behaviour
		lateReply      string
		phase, outcome string
	}{
		"accepts":              {platform.Behaviour{}, "20s", "finished", "accepted"},
		"accepts, twice":       {platform.Behaviour{Duplicate: 2}, "20s", "finished", "accepted"},
		"refuses":              {refuses(platform.EventError{Code: "no_capacity", Message: "none left"}), "20s", "failed", "rejected"},
		"malformed":            {says(`{}`), "300ms", "failed", "unknown"},
		"too late":             {platform.Behaviour{}, "100ms", "failed", "unknown"},
		"never":                {platform.Behaviour{Silent: true}, "300ms", "failed", "unknown"},
		"not even carried out": {platform.Behaviour{Deaf: true}, "300ms", "failed", "unknown"},
		"late replies are off": {platform.Behaviour{}, "0s", "failed", "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway(hurried, "BUS_VM_LATE_REPLY="+c.lateReply)
			c.behaviour.Names, c.behaviour.Hold = []string{platform.StartRequest}, 1<<20
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
}

// Nonsense is answered at once, and says nothing of what the worker did: a
// reply that makes sense completes the record, as after no reply at all.
func TestSenseAfterNonsense(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply          map[string]any
		phase, outcome string
	}{
		"accepts": {map[string]any{"accepted": true}, "finished", "accepted"},
		"refuses": {map[string]any{"accepted": false}, "failed", "rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway("BUS_VM_LATE_REPLY=20s")
			worker := platform.NewClient(r.URL(), platform.Token(eventsSecret, platform.Claims{Scope: platform.ProviderScope}))
			defer worker.Close()
			nonsense := says(`{}`)
			nonsense.Names = []string{platform.StartRequest}
			r.vmBehaves(nonsense)
			w := r.wantWrite(g, start, http.StatusBadGateway, "bad_gateway")
			ctx, cancel := patiently()
			defer cancel()
			_, err := worker.Publish(ctx, platform.Message{
				Name: platform.ReplyName(platform.StartRequest), CorrelationID: r.lifecyclePublishes()[0].CorrelationID, Payload: c.reply,
			})
			must(t, err)
			r.wantRecord(w, c.phase, c.outcome)
		})
	}
}

// published makes so many writes at a time and returns those that reached the
// Events API: on a busy machine some may run into their deadline before. There
// is at least one.
func (r *rig) published(write func() *call, together int) (reached []*call) {
	r.t.Helper()
	for range 5 {
		writes := make([]*call, together)
		var callers sync.WaitGroup
		for i := range writes {
			callers.Go(func() { writes[i] = write() })
		}
		callers.Wait()
		there := map[string]bool{}
		for _, e := range r.lifecyclePublishes() {
			there[e.RequestID] = true
		}
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
	t.Parallel()
	const inFlight = 50
	r := newRig(t)
	g := r.gateway()
	other := platform.NewClient(r.URL(), platform.Token(eventsSecret, platform.Claims{Scope: platform.ProviderScope}))
	defer other.Close()
	ctx, cancel := patiently()
	defer cancel()
	publish := func(name, id string, payload any) {
		t.Helper()
		_, err := other.Publish(ctx, platform.Message{Name: name, CorrelationID: id, Payload: payload})
		must(t, err)
	}
	r.vmBehaves(platform.Behaviour{
		Names: []string{platform.StartRequest}, Hold: inFlight, Duplicate: 1, Echo: true,
		Refuse: &platform.EventError{Code: "no_capacity", Message: "none left for"},
	})
	writes := make([]*call, inFlight)
	var callers sync.WaitGroup
	for i := range writes {
		callers.Go(func() { writes[i] = r.write(g, start) })
	}
	for i := range 20 {
		publish(platform.ReplyName(platform.StartRequest), uuid.NewString(), map[string]any{"accepted": true})
		publish(platform.ReplyName(platform.StartRequest), "", map[string]any{"accepted": true})
		publish(platform.ReplyName(platform.EntitlementRequest), uuid.NewString(), map[string]any{"allowed": i%2 == 0})
		publish(platform.ReplyName(platform.UsageRequest), uuid.NewString(), map[string]any{"error": "no"})
	}
	callers.Wait()
	for _, w := range writes {
		r.want(w, http.StatusBadGateway, "no_capacity")
		r.wantOwn(w)
	}
	// All of them again, now that no request waits.
	for _, e := range r.trace().all {
		if e.Name == platform.StartRequest {
			publish(platform.ReplyName(e.Name), e.CorrelationID, map[string]any{"accepted": true})
		}
	}
	r.wantWrite(g, stop, http.StatusAccepted, "")
}

// wantOwn wants the echo of the worker in a 502 to be about this very request.
func (r *rig) wantOwn(c *call) {
	r.t.Helper()
	want := fmt.Sprintf("request %s of %s", c.requestID, c.account)
	if message := c.failure().Message; !containsText(message, want) {
		r.t.Errorf("%s got the answer of another: %q", c, message)
	}
}

// A reply may come before the publish has been answered.
func TestReplyBeforePublishReturns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.Events.SetFaults(platform.Faults{
		Names: []string{platform.StartRequest, platform.EntitlementRequest, platform.UsageRequest}, Delay: 300 * time.Millisecond,
	})
	r.wantWrite(g, start, http.StatusAccepted, "")
	// Even when the answer never comes.
	r.Events.SetFaults(platform.Faults{Names: []string{platform.StartRequest}, CutPublish: true})
	r.wantWrite(g, start, http.StatusAccepted, "")
	r.Events.SetFaults(platform.Faults{})
	r.await("starts", func(ctx context.Context) error { return r.VM.WaitAsked(ctx, platform.StartRequest, 2) })
}
