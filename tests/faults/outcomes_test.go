package faults

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// What error.outcome says of a failed write (contract §2).
const (
	notSent  = "not_sent" // nothing was done
	rejected = "rejected" // the runtime said no
	unknown  = "unknown"  // the runtime may still act
)

// Every failed write that passed the checks says what became of it, so that no
// program has to read the message. The rig holds it to what was published.
func TestOutcomes(t *testing.T) {
	starts := []string{platform.StartRequest}
	type row struct {
		settings []string
		faults   platform.Faults
		cut      bool // the stream of replies to starts ends as well
		billing  platform.Behaviour
		worker   platform.Behaviour // of starts
		status   int
		kind     string
		outcome  string
	}
	rows(t, map[string]row{
		"the worker says no":             {worker: says(`{"accepted":false,"message":"not today"}`), status: 502, kind: "bad_gateway", outcome: rejected},
		"the worker says no, by error":   {worker: refuses(platform.EventError{Code: "no_capacity", Message: "none left"}), status: 502, kind: "no_capacity", outcome: rejected},
		"the same in words of ours":      {worker: refuses(platform.EventError{Code: unavailable, Message: "none left"}), status: 502, kind: unavailable, outcome: rejected},
		"a malformed reply":              {worker: says(`{}`), status: 502, kind: "bad_gateway", outcome: unknown},
		"no reply":                       {settings: []string{hurried}, worker: platform.Behaviour{Silent: true}, status: 503, kind: unavailable, outcome: unknown},
		"an answer that is no HTTP":      {settings: []string{hurried}, faults: platform.Faults{Names: starts, GarbageHTTP: true}, status: 503, kind: unavailable, outcome: unknown},
		"a refused publish":              {faults: platform.Faults{Names: starts, PublishStatus: 400}, status: 503, kind: unavailable, outcome: notSent},
		"too many publishes":             {faults: platform.Faults{Names: starts, PublishStatus: 429}, status: 503, kind: unavailable, outcome: notSent},
		"a stream that is down":          {faults: platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, ListenStatus: 500}, cut: true, status: 503, kind: unavailable, outcome: notSent},
		"billing away":                   {settings: []string{hurried}, billing: platform.Behaviour{Deaf: true}, status: 503, kind: unavailable, outcome: notSent},
		"billing away, by its publish":   {faults: platform.Faults{Names: []string{platform.EntitlementRequest}, PublishStatus: 400}, status: 503, kind: unavailable, outcome: notSent},
		"a malformed reply of billing":   {billing: says(`{}`), status: 502, kind: "bad_gateway", outcome: notSent},
		"denied by billing":              {billing: says(`{"allowed":false}`), status: 402, kind: "billing_required", outcome: notSent},
		"an error of billing":            {billing: refuses(platform.EventError{Code: "storage_error", Message: "disk"}), status: 502, kind: "storage_error", outcome: notSent},
		"an answer of a proxy to it all": {faults: platform.Faults{Names: starts, PublishStatus: 503}, status: 503, kind: unavailable, outcome: unknown},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(append(c.settings, "BUS_VM_LATE_REPLY=300ms")...)
		r.Events.SetFaults(c.faults)
		if c.cut {
			r.Events.CutStreams(c.faults.Names...)
			g.awaitMetric(streamUp(platform.StartRequest), zero)
		}
		c.worker.Names = starts
		r.vmBehaves(c.worker)
		r.Billing.SetBehaviour(c.billing)
		r.wantOutcome(r.write(g, start), c.status, c.kind, c.outcome)
	})
}

// A write beyond a limit says that nothing was done.
func TestOutcomesAtLimits(t *testing.T) {
	t.Parallel()
	t.Run("writes in flight", func(t *testing.T) {
		r := newRig(t)
		g := r.gateway("BUS_VM_WRITES_IN_FLIGHT=1")
		_, answered := r.underWay(g, 1, platform.Behaviour{})
		r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, notSent)
		r.VM.Release()
		answered.Wait()
	})
	t.Run("writes per second", func(t *testing.T) {
		r := newRig(t)
		g := r.gateway("BUS_VM_WRITES_PER_SECOND=1")
		// One account's writes, as fast as they go: a second passes between the
		// first two only on a machine that stands still.
		first := newCall(g, start)
		r.want(r.make(first), http.StatusAccepted, "")
		require.True(t, eventually(func() bool {
			next := newCall(g, start)
			next.account, next.token = first.account, first.token
			if r.make(next).status == http.StatusAccepted {
				return false
			}
			r.wantOutcome(next, http.StatusTooManyRequests, "too_many_requests", notSent)
			return true
		}), "no write was refused")
	})
}
