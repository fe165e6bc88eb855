package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

// Whatever the usage worker does, starts and stops go on, and every record is
// there in the end, in order. An error that may pass, which is any that does not
// speak of the record, parks nothing.
func TestUsageWorker(t *testing.T) {
	table := map[string]platform.Behaviour{
		"slow":               {Delay: 200 * time.Millisecond},
		"deaf for a while":   {Deaf: true, Times: 3},
		"silent for a while": {Silent: true, Times: 3},
		"fails by number":    {Refuse: &platform.EventError{Code: "503", Message: "disk", WithCode: true}, Times: 3},
		"answers anything":   says(`["fine"]`),
		"answers twice":      {Duplicate: 2},
		"out of order":       {Jitter: 100 * time.Millisecond},
	}
	for _, code := range []string{"internal_error", "storage_error", "deadlock", "database is locked", "connection refused", "throttled"} {
		table["fails: "+code] = platform.Behaviour{Refuse: &platform.EventError{Code: code}, Times: 3}
	}
	for _, code := range []string{"Storage_Error", "database is locked", ""} {
		table["fails as text: "+code] = platform.Behaviour{Refuse: &platform.EventError{Code: code, AsText: true}, Times: 3}
	}
	rows(t, table, func(t *testing.T, b platform.Behaviour) {
		r := newRig(t)
		g := r.begin(process, r.home(), "BUS_VM_TIMEOUT=3s")
		r.connected()
		r.Usage.SetBehaviour(b)
		for range 3 {
			r.wantWrite(g, start, http.StatusAccepted, "")
			r.wantWrite(g, stop, http.StatusAccepted, "")
		}
		g.awaitDelivered()
		assert.NotContains(t, g.log.all(), "parked")
	})
}

// A record that is refused for good is parked on disk, and offered again by the
// next start. Until then the terminal record of its operation waits, and nothing
// else does.
func TestRefusedRecordIsParked(t *testing.T) {
	r := newRig(t)
	g := r.begin(process, r.home())
	r.connected()
	w := newCall(g, start)
	refusing := refuses(platform.EventError{Code: "invalid_request", Message: "no such account"})
	refusing.Accounts = []string{w.account}
	r.Usage.SetBehaviour(refusing)
	r.want(r.make(w), http.StatusAccepted, "")
	g.awaitRows(parkedRecords, 1)
	found := g.look("/debug/store")
	assert.True(t, strings.Count(found, w.requestID) == 1 && strings.Count(found, "no such account") == 1, "/debug/store: %s", found)
	r.wantRecord(r.wantWrite(g, stop, http.StatusAccepted, ""), "finished", "accepted")
	r.Usage.SetBehaviour()
	r.wantRecord(r.wantWrite(g, stop, http.StatusAccepted, ""), "finished", "accepted")
	assert.Empty(t, r.Usage.RecordsFor(w.requestID), "refused records were stored")
	g.stop()
	next := r.begin(process, g.home)
	r.wantRecord(w, "finished", "accepted")
	next.awaitDelivered()
}

// An integration that fails for some accounts delays no other account's records.
func TestDeliveryIsFair(t *testing.T) {
	const failing, others = 3, 20
	rows(t, map[string]platform.Behaviour{
		"internal_error": refuses(platform.EventError{Code: "internal_error", Message: "try later"}),
		"no answer":      {Deaf: true},
	}, func(t *testing.T, b platform.Behaviour) {
		r := newRig(t)
		g := r.begin(process, r.home(), "BUS_VM_TIMEOUT=3s")
		r.connected()
		var unlucky []*call
		for range failing {
			c := newCall(g, start)
			unlucky, b.Accounts = append(unlucky, c), append(b.Accounts, c.account)
		}
		r.Usage.SetBehaviour(b)
		for _, c := range unlucky {
			r.want(r.make(c), http.StatusAccepted, "")
		}
		var writes []*call
		for range others {
			writes = append(writes, r.wantWrite(g, start, http.StatusAccepted, ""))
		}
		r.wantRecords(writes, "finished", "accepted")
		g.awaitRows(undeliveredRecords, 2*failing)
	})
}

// An acknowledgement counts however late it comes: a record keeps its correlation
// id when it is sent again, and a backlog does not feed itself.
func TestLateAcknowledgements(t *testing.T) {
	const records = 20
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_VM_TIMEOUT=2s")
	r.connected()
	r.Usage.SetBehaviour(platform.Behaviour{Delay: 2500 * time.Millisecond})
	for i := range records / 2 {
		r.wantWrite(g, []string{start, stop}[i%2], http.StatusAccepted, "")
	}
	g.awaitDelivered()
	sent := map[string]int{}
	for _, request := range r.Usage.Asked(platform.UsageRequest) {
		sent[request.CorrelationID]++
	}
	assert.Len(t, sent, records, "correlation ids")
	for id, n := range sent {
		assert.LessOrEqual(t, n, 4, id)
	}
}
