package faults

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

const (
	loadCallers = 1000 // in flight at a time
	loadRounds  = 10   // of replies that each caller gets
	megabyte    = 1 << 20
)

// 1,000 writes wait at once; their replies come together in a random order,
// half of them refusals that name their request. Then 10,000 entitlement checks
// find 10,000 replies, 1,000 of them held back at a time and let go in a random
// order, twice each and among strangers' replies. Every caller gets its own, and
// the process is as large after the last thousand as after the first.
func TestLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.begin(process, r.home(), "BUS_VM_LOG_LEVEL=info", "BUS_VM_TIMEOUT=60s")
	r.connected()
	together := func(each func(i int)) {
		var callers sync.WaitGroup
		for i := range loadCallers {
			callers.Go(func() { each(i) })
		}
		callers.Wait()
	}

	noCapacity := refuses(platform.EventError{Code: "no_capacity", Message: "none left for"})
	noCapacity.Hold, noCapacity.Rate = loadCallers, .5
	r.vmBehaves(noCapacity, platform.Behaviour{Hold: loadCallers})
	together(func(i int) { r.write(g, []string{start, stop}[i%2]) })
	for _, w := range r.book.writes {
		if w.status == http.StatusBadGateway {
			r.wantOwn(w)
		}
	}
	r.onlyStatuses(http.StatusAccepted, http.StatusBadGateway)
	if n := r.book.statuses()[http.StatusAccepted]; n < loadCallers/3 || n > loadCallers*2/3 {
		t.Errorf("%d of %d accepted", n, loadCallers)
	}
	g.awaitMetric("bus_vm_outbox_records", zero)

	r.Billing.Decide("", platform.Decision{Reason: "quota_exceeded"})
	r.Billing.SetBehaviour(platform.Behaviour{Hold: loadCallers, Duplicate: 1, Echo: true})
	r.Events.SetFaults(platform.Faults{Names: []string{platform.ReplyName(platform.EntitlementRequest)}, Strangers: 1, Rate: .2, Reorder: 50})
	denied := func(int) {
		w := r.write(g, start)
		var usage struct {
			AccountID string `json:"account_id"`
		}
		_ = json.Unmarshal(w.failure().Usage, &usage) // compared below
		if w.status != http.StatusPaymentRequired || usage.AccountID != w.account {
			t.Errorf("%s", w)
		}
	}
	together(denied)
	first, _ := g.metric("process_resident_memory_bytes")
	for range loadRounds - 1 {
		together(denied)
	}
	last, _ := g.metric("process_resident_memory_bytes")
	t.Logf("resident: %.0f MB after the first thousand, %.0f MB after the last", first/megabyte, last/megabyte)
	allowance := 64.0 * megabyte
	if raceEnabled {
		allowance *= 4 // the detector remembers
	}
	if first == 0 || last > first+allowance {
		t.Errorf("the process grew from %.0f to %.0f MB", first/megabyte, last/megabyte)
	}
	g.awaitMetric("bus_vm_events_requests_in_flight", zero)
	// fasthttp keeps a worker for each connection of late for some seconds.
	g.awaitMetric("go_goroutines", func(v float64) bool { return v < loadCallers+200 })
	r.Billing.Decide("", platform.Decision{Allowed: true})
}
