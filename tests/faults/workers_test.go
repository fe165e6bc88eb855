package faults

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/busdk/bus-api-provider-vm/tests/platform"
)

func containsText(text, part string) bool { return strings.Contains(text, part) }

// oddity is what a worker may do to one request, and what becomes of it.
type oddity struct {
	behaviour platform.Behaviour
	status    int
	kind      string
}

// two are gateways before one platform: one gives up soon, for the workers who
// say nothing, and the other never does.
type two struct{ hurried, patient *gateway }

func (r *rig) two(settings ...string) two {
	hasty := r.gateway(append(settings, hurried)...)
	return two{hasty, r.gateway(append(settings, unhurried)...)}
}

func (g two) of(o oddity) *gateway {
	if o.status == http.StatusServiceUnavailable {
		return g.hurried
	}
	return g.patient
}

func says(payload string) platform.Behaviour {
	return platform.Behaviour{Payload: json.RawMessage(payload)}
}

func refuses(e platform.EventError) platform.Behaviour { return platform.Behaviour{Refuse: &e} }

// The VM worker answers a start in every way it should not, and in some unusual
// ones that it may.
func TestLifecycleWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.two("BUS_VM_LATE_REPLY=100ms")
	for name, c := range map[string]oddity{
		"slow":                  {platform.Behaviour{Delay: 200 * time.Millisecond}, 202, ""},
		"deaf":                  {platform.Behaviour{Deaf: true}, 503, unavailable},
		"silent":                {platform.Behaviour{Silent: true}, 503, unavailable},
		"a status":              {says(`{"state":"starting"}`), 202, ""},
		"a status inside":       {says(`{"status":{"state":"starting"}}`), 202, ""},
		"all members":           {says(`{"accepted":null,"state":null,"status":{"state":"starting"}}`), 202, ""},
		"a status, and noise":   {says(`{"accepted":"yes","state":"starting"}`), 202, ""},
		"accepted, no action":   {says(`{"accepted":true}`), 202, ""},
		"accepted, unknown too": {says(`{"accepted":true,"x":{"y":[1,null]}}`), 202, ""},
		"accepted: false":       {says(`{"accepted":false,"message":"not today"}`), 502, "bad_gateway"},
		"accepted as text":      {says(`{"accepted":"true"}`), 502, "bad_gateway"},
		"accepted: 1":           {says(`{"accepted":1}`), 502, "bad_gateway"},
		"accepted: null":        {says(`{"accepted":null}`), 502, "bad_gateway"},
		"an empty object":       {says(`{}`), 502, "bad_gateway"},
		"null":                  {says(`null`), 502, "bad_gateway"},
		"a list":                {says(`[]`), 502, "bad_gateway"},
		"a text":                {says(`"accepted"`), 502, "bad_gateway"},
		"an empty state":        {says(`{"state":""}`), 502, "bad_gateway"},
		"a state that is none":  {says(`{"state":7}`), 502, "bad_gateway"},
		"an error with a type":  {refuses(platform.EventError{Code: "no_capacity", Message: "none left"}), 502, "no_capacity"},
		"an error with a code":  {refuses(platform.EventError{Code: "no_capacity", Message: "none left", Form: platform.ErrorWithCode}), 502, "no_capacity"},
		"an error as text":      {refuses(platform.EventError{Code: "no_capacity", Message: "none left", Form: platform.ErrorText}), 502, "integration_error"},
		"an error inside":       {refuses(platform.EventError{Code: "no_capacity", Message: "none left", InPayload: true}), 502, "no_capacity"},
	} {
		c.behaviour.Names = []string{platform.StartRequest}
		r.vmBehaves(c.behaviour)
		w := r.write(g.of(c), start)
		if w.status != c.status || w.failure().Type != c.kind {
			t.Errorf("%s: %s, want %d %s", name, w, c.status, c.kind)
		}
		phase, outcome := recorded(w)
		r.wantRecord(w, phase, outcome)
	}
}

// recorded is how a published write is on record that was answered so. What
// the worker did that answered nonsense, nobody knows.
func recorded(w *call) (phase, outcome string) {
	switch {
	case w.status == http.StatusAccepted:
		return "finished", "accepted"
	case w.status == http.StatusServiceUnavailable, w.doubtful():
		return "failed", "unknown"
	}
	return "failed", "rejected"
}

func TestStatusWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.untraced = true
	g := r.two("BUS_VM_STATUS_MAX_AGE=50ms", "BUS_VM_STATUS_REFRESH=20ms", "BUS_VM_STATUS_REFRESH_MOVING=20ms")
	r.wantWrite(g.patient, start, http.StatusAccepted, "")
	for name, c := range map[string]oddity{
		"slow":              {platform.Behaviour{Delay: 100 * time.Millisecond}, 200, ""},
		"an unknown state":  {says(`{"state":"hibernating","provider":"x"}`), 200, ""},
		"a status inside":   {says(`{"status":{"state":"ready"}}`), 200, ""},
		"deaf":              {platform.Behaviour{Deaf: true}, 503, unavailable},
		"no state":          {says(`{"provider":"x"}`), 502, "bad_gateway"},
		"a numeric state":   {says(`{"state":1}`), 502, "bad_gateway"},
		"details of a list": {says(`{"state":"ready","details":[]}`), 200, ""},
		"null":              {says(`null`), 502, "bad_gateway"},
		"its own error":     {refuses(platform.EventError{Code: "vm_gone", Message: "no such machine"}), 502, "vm_gone"},
	} {
		c.behaviour.Names = []string{platform.StatusRequest}
		r.vmBehaves(c.behaviour)
		var last *call
		if !eventually(func() bool {
			last = r.read(g.of(c))
			return last.status == c.status && last.failure().Type == c.kind
		}) {
			t.Errorf("%s: %s, want %d %s", name, last, c.status, c.kind)
		}
	}
}

// Without a clear allowance nothing is published to the VM worker and nothing
// is recorded.
func TestBillingWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.two()
	for name, c := range map[string]oddity{
		"slow":                   {platform.Behaviour{Delay: 200 * time.Millisecond}, 202, ""},
		"deaf":                   {platform.Behaviour{Deaf: true}, 503, unavailable},
		"denied":                 {says(`{"allowed":false,"reason":"billing_required","command":"bus billing setup"}`), 402, "billing_required"},
		"over quota":             {says(`{"allowed":false,"reason":"quota_exceeded","usage":{"hours":10}}`), 402, "quota_exceeded"},
		"denied without reason":  {says(`{"allowed":false}`), 402, "billing_required"},
		"an empty object":        {says(`{}`), 502, "bad_gateway"},
		"allowed as text":        {says(`{"allowed":"true"}`), 502, "bad_gateway"},
		"allowed: 1":             {says(`{"allowed":1}`), 502, "bad_gateway"},
		"allowed: null":          {says(`{"allowed":null,"reason":"billing_active"}`), 502, "bad_gateway"},
		"null":                   {says(`null`), 502, "bad_gateway"},
		"a list":                 {says(`[true]`), 502, "bad_gateway"},
		"allowed inside":         {says(`{"status":{"allowed":true}}`), 502, "bad_gateway"},
		"allowed with an error":  {says(`{"allowed":true,"error":{"type":"storage_error","message":"guessed"}}`), 502, "storage_error"},
		"its own error":          {refuses(platform.EventError{Code: "storage_error", Message: "disk"}), 502, "storage_error"},
		"its own error, as text": {refuses(platform.EventError{Code: "storage_error", Message: "disk", Form: platform.ErrorText}), 502, "integration_error"},
	} {
		before := r.Events.Accepted(platform.StartRequest)
		r.Billing.SetBehaviour(c.behaviour)
		w := r.write(g.of(c), start)
		if w.status != c.status || w.failure().Type != c.kind {
			t.Errorf("%s: %s, want %d %s", name, w, c.status, c.kind)
		}
		if published := r.Events.Accepted(platform.StartRequest) - before; (published == 1) != (c.status == 202) {
			t.Errorf("%s: %d starts published", name, published)
		}
	}
}

// Whatever the usage worker does, starts and stops go on, and every record is
// there in the end.
func TestUsageWorker(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]platform.Behaviour{
		"slow":               {Delay: 200 * time.Millisecond},
		"deaf for a while":   {Deaf: true, Times: 3},
		"silent for a while": {Silent: true, Times: 3},
		"fails for a while":  {Refuse: &platform.EventError{Code: "storage_error", Message: "disk"}, Times: 3},
		"fails as text":      {Refuse: &platform.EventError{Code: "Storage_Error", Message: "disk", Form: platform.ErrorText}, Times: 3},
		"fails by number":    {Refuse: &platform.EventError{Code: "503", Message: "disk", Form: platform.ErrorWithCode}, Times: 3},
		"answers anything":   says(`["fine"]`),
		"answers twice":      {Duplicate: 2},
		"out of order":       {Jitter: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway("BUS_VM_TIMEOUT=3s")
			r.Usage.SetBehaviour(b)
			for range 3 {
				r.wantWrite(g, start, http.StatusAccepted, "")
				r.wantWrite(g, stop, http.StatusAccepted, "")
			}
			g.awaitMetric("bus_vm_outbox_records", zero)
		})
	}
}

// A record that is refused for good is parked on disk, and offered again by the
// next start.
func TestRefusedRecordIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.Usage.SetBehaviour(refuses(platform.EventError{Code: "invalid_request", Message: "no such account"}))
	w := r.wantWrite(g, start, http.StatusAccepted, "")
	g.awaitMetric("bus_vm_outbox_parked_records", func(v float64) bool { return v == 2 })
	if !eventually(func() bool { // the row follows the gauge within a moment
		found := g.look("/debug/outbox")
		return strings.Count(found, w.requestID) == 2 && strings.Count(found, "no such account") == 2
	}) {
		t.Errorf("/debug/outbox lacks the parked records of %s: %s", w, g.look("/debug/outbox"))
	}
	r.Usage.SetBehaviour()
	r.wantWrite(g, stop, http.StatusAccepted, "")
	if records := r.Usage.RecordsFor(w.requestID); len(records) > 0 {
		t.Errorf("refused records were stored: %+v", records)
	}
	g.stop()
	next := r.begin(within, g.home)
	r.wantRecord(w, "finished", "accepted")
	next.awaitMetric("bus_vm_outbox_parked_records", zero)
}
