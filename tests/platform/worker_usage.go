package platform

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"sync"
	"time"
)

// UsageRecord is a usage event as the worker stored it: the first accepted
// delivery of its EventID.
type UsageRecord struct {
	EventID    string         `json:"event_id"`
	EventType  string         `json:"event_type"` // for example runtime_start_requested
	Account    string         `json:"account_id"`
	OccurredAt time.Time      `json:"occurred_at"`
	Data       map[string]any `json:"data"`
	RequestID  string         `json:"-"` // data.request_id

	action, phase string // of EventType
	order         int    // counts stored records from 1 as they arrived
	payload       []byte // compact, to compare a later delivery with
}

// UsageWorker stores usage records, once for each event_id. Behaviour.Refuse
// without Times refuses for good, with Times for a while.
type UsageWorker struct {
	*Worker

	mu      sync.Mutex
	records map[string]UsageRecord // by EventID
	// byRequest has them in the order of arrival, by RequestID.
	byRequest map[string][]UsageRecord
}

// The phases of an operation, as event types end.
const (
	phaseRequested = "requested"
	phaseFinished  = "finished"
)

// runtimeEvents are the event types a VM provider may record.
var runtimeEvents = regexp.MustCompile(`^runtime_(start|stop)_(requested|finished|failed)$`)

func newUsageWorker(e *Events) *UsageWorker {
	u := &UsageWorker{records: map[string]UsageRecord{}, byRequest: map[string][]UsageRecord{}}
	u.Worker = newWorker(e, "usage", usageScope, UsageRequest)
	u.handle = u.answer
	return u
}

func (u *UsageWorker) answer(req Request) (map[string]any, *EventError) {
	record, err := parseRecord(req.Payload)
	if err != nil {
		u.violate(req, "%v: %s", err, req.Payload)
		return nil, &EventError{Code: "invalid_request", Message: err.Error()}
	}
	u.mu.Lock()
	known, again := u.records[record.EventID]
	if !again {
		record.order = len(u.records) + 1
		u.records[record.EventID] = record
		u.byRequest[record.RequestID] = append(u.byRequest[record.RequestID], record)
	}
	u.mu.Unlock()
	if again && !bytes.Equal(known.payload, record.payload) {
		u.violate(req, "event_id %s came with another content: %s, before: %s", record.EventID, record.payload, known.payload)
	}
	return map[string]any{"recorded": true, "event_id": record.EventID, "duplicate": again}, nil
}

// parseRecord holds a record to the contract. Its data has action, request id and
// runtime always, and at the end an outcome, which is "accepted" for finished alone,
// and how long it took, in whole milliseconds. There is no other number in it: the
// platform's export rules bill numbers.
func parseRecord(payload []byte) (r UsageRecord, err error) {
	if err := json.Unmarshal(payload, &r); err != nil {
		return r, fmt.Errorf("no usage record: %w", err)
	}
	if kind := runtimeEvents.FindStringSubmatch(r.EventType); kind != nil {
		r.action, r.phase = kind[1], kind[2]
	}
	text := func(member string) string { s, _ := r.Data[member].(string); return s }
	r.RequestID = text("request_id")
	var compact bytes.Buffer
	_ = json.Compact(&compact, payload) // parsed above
	r.payload = compact.Bytes()
	switch outcome := text("outcome"); {
	case r.phase == "":
		return r, fmt.Errorf("event_type %q is not in the taxonomy", r.EventType)
	case r.EventID == "" || r.OccurredAt.IsZero() || r.RequestID == "":
		return r, fmt.Errorf("event_id, occurred_at and data.request_id are required")
	case !isUUID(r.Account):
		return r, fmt.Errorf("account_id %q is no UUID", r.Account)
	case text("action") != r.action || text("runtime") != runtimeName:
		return r, fmt.Errorf("data.action must be %q and data.runtime %q", r.action, runtimeName)
	case r.phase != phaseRequested && outcome == "":
		return r, fmt.Errorf("data.outcome is required")
	case !r.wellTimed():
		return r, fmt.Errorf("data.duration_ms must be the one number of an end, whole and not negative")
	case r.phase != phaseRequested && (outcome == "accepted") != (r.phase == phaseFinished):
		return r, fmt.Errorf("the outcome of %s is not %q", r.EventType, outcome)
	}
	return r, nil
}

func (r *UsageRecord) wellTimed() bool {
	numbers := 0
	for _, member := range r.Data {
		if _, is := member.(float64); is {
			numbers++
		}
	}
	ms, timed := r.Data["duration_ms"].(float64)
	if r.phase == phaseRequested {
		return numbers == 0
	}
	return timed && numbers == 1 && ms >= 0 && ms == math.Trunc(ms)
}

// Records returns what is stored, in the order of arrival.
func (u *UsageWorker) Records() []UsageRecord {
	u.mu.Lock()
	defer u.mu.Unlock()
	found := make([]UsageRecord, 0, len(u.records))
	for _, r := range u.records {
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b UsageRecord) int { return cmp.Compare(a.order, b.order) })
	return found
}

// RecordsFor returns the records of one request, likewise.
func (u *UsageWorker) RecordsFor(requestID string) []UsageRecord {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.byRequest[requestID])
}
