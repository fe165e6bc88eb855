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
// program has to read the message. The rig holds it to what was published. Here
// the API is at fault; TestLifecycleWorker and TestBillingWorker have the rest.
func TestOutcomes(t *testing.T) {
	type row struct {
		timeout string
		faults  platform.Faults
		cut     bool // the stream of replies to starts ends as well
		outcome string
	}
	rows(t, map[string]row{
		"an answer that is no HTTP":    {hurried, platform.Faults{Names: starts, GarbageHTTP: true}, false, unknown},
		"a stream that is down":        {unhurried, platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, ListenStatus: 500}, true, notSent},
		"billing away, by its publish": {unhurried, platform.Faults{Names: []string{platform.EntitlementRequest}, PublishStatus: 400}, false, notSent},
	}, func(t *testing.T, c row) {
		r := newRig(t)
		g := r.gateway(c.timeout, "BUS_VM_LATE_REPLY=300ms")
		r.Events.SetFaults(c.faults)
		if c.cut {
			r.Events.CutStreams(c.faults.Names...)
			g.awaitMetric(streamUp(platform.StartRequest), zero)
		}
		r.wantOutcome(r.write(g, start), http.StatusServiceUnavailable, unavailable, c.outcome)
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
