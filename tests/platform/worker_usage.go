package platform

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// UsageRecord is a usage event as the worker stored it: the first accepted
// delivery of its EventID.
type UsageRecord struct {
	EventID    string
	EventType  string // for example runtime_start_requested
	Account    string
	OccurredAt time.Time
	RequestID  string         // data.request_id
	Data       map[string]any // data
	// Order counts stored records from 1 in the order they arrived.
	Order int
	// Deliveries counts how often it was accepted.
	Deliveries int
}

// UsageWorker stores usage records, once for each event_id. Behaviour.Refuse
// without Times refuses for good, with Times for a while; Asked tells every
// delivery, refused ones included.
type UsageWorker struct {
	*Worker

	mu      sync.Mutex
	records map[string]*storedRecord
}

type storedRecord struct {
	UsageRecord
	payload []byte // compact, to compare a later delivery with
}

// The phases of an operation, as event types end.
const (
	phaseRequested = "requested"
	phaseFinished  = "finished"
	phaseFailed    = "failed"
)

// runtimeEvents are the event types a VM provider may record.
var runtimeEvents = regexp.MustCompile(`^runtime_(start|stop)_(requested|finished|failed)$`)

// NewUsageWorker returns a worker that is not listening yet.
func NewUsageWorker(worker WorkerConfig) *UsageWorker {
	u := &UsageWorker{records: map[string]*storedRecord{}}
	u.Worker = newWorker(worker, "usage", usageScope, UsageRequest)
	u.handle = u.answer
	return u
}

func (u *UsageWorker) answer(req Request) (map[string]any, *EventError) {
	record, err := parseRecord(req)
	if err != nil {
		u.violate(req, "%v: %s", err, req.Payload)
		return nil, &EventError{Code: "invalid_request", Message: err.Error()}
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, req.Payload) // parsed above
	u.mu.Lock()
	known, again := u.records[record.EventID]
	if again {
		known.Deliveries++
	} else {
		record.Order = len(u.records) + 1
		record.Deliveries = 1
		u.records[record.EventID] = &storedRecord{record, compact.Bytes()}
	}
	u.mu.Unlock()
	if again && !bytes.Equal(known.payload, compact.Bytes()) {
		u.violate(req, "event_id %s came with another content: %s, before: %s", record.EventID, compact.Bytes(), known.payload)
	}
	return map[string]any{"recorded": true, "event_id": record.EventID, "duplicate": again}, nil
}

func parseRecord(req Request) (UsageRecord, error) {
	var body struct {
		EventType  string         `json:"event_type"`
		EventID    string         `json:"event_id"`
		AccountID  string         `json:"account_id"`
		OccurredAt string         `json:"occurred_at"`
		Data       map[string]any `json:"data"`
	}
	if err := json.Unmarshal(req.Payload, &body); err != nil {
		return UsageRecord{}, fmt.Errorf("no usage record: %w", err)
	}
	occurred, err := time.Parse(time.RFC3339Nano, body.OccurredAt)
	switch {
	case err != nil:
		return UsageRecord{}, fmt.Errorf("occurred_at: %w", err)
	case !runtimeEvents.MatchString(body.EventType):
		return UsageRecord{}, fmt.Errorf("event_type %q is not in the taxonomy", body.EventType)
	case body.EventID == "":
		return UsageRecord{}, fmt.Errorf("event_id is required")
	case !isUUID(body.AccountID):
		return UsageRecord{}, fmt.Errorf("account_id %q is no UUID", body.AccountID)
	}
	requestID, err := judgeData(body.EventType, body.Data)
	return UsageRecord{
		EventID: body.EventID, EventType: body.EventType, Account: body.AccountID,
		OccurredAt: occurred, RequestID: requestID, Data: body.Data,
	}, err
}

// judgeData holds data to its event type: action, request id and runtime
// always, and at the end an outcome, which is "accepted" for finished alone.
func judgeData(eventType string, data map[string]any) (requestID string, _ error) {
	action, phase := splitEventType(eventType)
	text := func(member string) string { s, _ := data[member].(string); return s }
	requestID = text("request_id")
	switch outcome := text("outcome"); {
	case requestID == "":
		return "", fmt.Errorf("data.request_id is required")
	case text("action") != action || text("runtime") != runtimeName:
		return "", fmt.Errorf("data.action must be %q and data.runtime %q", action, runtimeName)
	case phase != phaseRequested && outcome == "":
		return "", fmt.Errorf("data.outcome is required")
	case phase != phaseRequested && (outcome == "accepted") != (phase == phaseFinished):
		return "", fmt.Errorf("the outcome of %s is not %q", eventType, outcome)
	}
	return requestID, nil
}

// splitEventType takes runtime_<action>_<phase> apart.
func splitEventType(eventType string) (action, phase string) {
	_, rest, _ := strings.Cut(eventType, "_")
	action, phase, _ = strings.Cut(rest, "_")
	return action, phase
}

// Records returns what is stored, in the order of arrival.
func (u *UsageWorker) Records() []UsageRecord {
	return u.find(func(UsageRecord) bool { return true })
}

// RecordsFor returns the records of one request.
func (u *UsageWorker) RecordsFor(requestID string) []UsageRecord {
	return u.find(func(r UsageRecord) bool { return r.RequestID == requestID })
}

func (u *UsageWorker) find(wanted func(UsageRecord) bool) []UsageRecord {
	u.mu.Lock()
	defer u.mu.Unlock()
	var found []UsageRecord
	for _, r := range u.records {
		if wanted(r.UsageRecord) {
			found = append(found, r.UsageRecord)
		}
	}
	slices.SortFunc(found, func(a, b UsageRecord) int { return cmp.Compare(a.Order, b.Order) })
	return found
}
