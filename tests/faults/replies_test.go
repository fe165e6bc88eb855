package faults

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/hostile"
	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func repliesTo(to hostile.To) []hostile.Reply {
	return slices.DeleteFunc(hostile.Replies(), func(r hostile.Reply) bool { return r.To != to })
}

// newRead reads a status that was asked for after the worker began to behave so:
// a write before it makes every older one worthless.
func (r *rig) newRead(g *gateway, how platform.Behaviour) *call {
	r.t.Helper()
	how.Names = []string{platform.StatusRequest}
	r.vmBehaves(how)
	r.back(g)
	return r.read(g)
}

// A status is its member state, once; other members that are not what they should
// be are left out. It is passed on within bounds; what is larger, deeper or no
// valid text or number is malformed.
func TestStatusReplies(t *testing.T) {
	r := newRig(t)
	r.untraced = true
	g := r.gateway()
	for _, c := range repliesTo(hostile.Status) {
		read := r.newRead(g, says(c.Payload))
		r.expect(c.Name, read, c.Status, c.Type)
		assert.True(t, c.Status != 200 || read.answer.body == `{"status":`+c.Shown+`}`, "%s: %.200s", c.Name, read.answer.body)
	}
	r.expect("slow", r.newRead(g, platform.Behaviour{Delay: 100 * time.Millisecond}), http.StatusOK, "")
	r.expect("its own error", r.newRead(g, refuses(platform.EventError{Code: "vm_gone", Message: "no such machine"})), http.StatusBadGateway, "vm_gone")
	r.expect("deaf", r.newRead(r.gateway(hurried), platform.Behaviour{Deaf: true}), http.StatusServiceUnavailable, unavailable)
}

// A line with two correlation ids answers neither of them, in the history either.
// Once the line is well, the next stream that opens finds what it says there.
func TestRepeatedCorrelationID(t *testing.T) {
	r := newRig(t)
	g := r.gateway(hurried, "BUS_VM_LATE_REPLY=300ms")
	r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.StartRequest)}, RepeatID: true})
	writes := r.published(func() *call { return r.write(g, start) }, 3)
	for _, w := range writes {
		r.wantRecord(r.wantOutcome(w, http.StatusServiceUnavailable, unavailable, unknown), "failed", "unknown")
	}
	r.Events.SetFaults(platform.Faults{})
	r.Events.CutStreams()
	r.wantCorrections(writes, "accepted")
	r.back(g)
}
