package usage

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/events"
)

func operation(id string, action lifecycle.Action) lifecycle.Operation {
	return lifecycle.Operation{
		ID:        id,
		Action:    action,
		Account:   "0d2f4c1e-9a55-4f0e-8f1c-0a4d3f6f7a11",
		RequestID: "req-1",
	}
}

const opID = "7e9b2d1c-64b1-4bb8-9d6e-55a1d0a3c001"

// The texts are the contract with the usage store: they are written out, never
// computed.
func TestRecordJSON(t *testing.T) {
	requested := time.Date(2026, 11, 23, 20, 15, 4, 120_000_999, time.FixedZone("EET", 2*3600))
	ended := time.Date(2026, 11, 23, 18, 15, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		record Record
		want   string
	}{
		"start requested": {
			New(operation(opID, lifecycle.Start), PhaseRequested, requested, "", 0),
			`{"event_type":"runtime_start_requested","event_id":"2c1d98be-0234-508b-8854-2d2ce3500696",` +
				`"account_id":"0d2f4c1e-9a55-4f0e-8f1c-0a4d3f6f7a11","occurred_at":"2026-11-23T18:15:04.12Z",` +
				`"data":{"action":"start","request_id":"req-1","runtime":"default"}}`,
		},
		"stop finished": {
			New(operation(opID, lifecycle.Stop), PhaseEnded, ended, lifecycle.Accepted, 2880*time.Millisecond),
			`{"event_type":"runtime_stop_finished","event_id":"a35737eb-5c11-5e86-b189-5ce785f28662",` +
				`"account_id":"0d2f4c1e-9a55-4f0e-8f1c-0a4d3f6f7a11","occurred_at":"2026-11-23T18:15:07Z",` +
				`"data":{"action":"stop","request_id":"req-1","runtime":"default","outcome":"accepted","duration_ms":2880}}`,
		},
		"a clock that ran backwards": {
			New(operation(opID, lifecycle.Start), PhaseEnded, ended, lifecycle.Rejected, -time.Second),
			`{"event_type":"runtime_start_failed","event_id":"a35737eb-5c11-5e86-b189-5ce785f28662",` +
				`"account_id":"0d2f4c1e-9a55-4f0e-8f1c-0a4d3f6f7a11","occurred_at":"2026-11-23T18:15:07Z",` +
				`"data":{"action":"start","request_id":"req-1","runtime":"default","outcome":"rejected","duration_ms":0}}`,
		},
		"start after all": {
			New(operation(opID, lifecycle.Start), PhaseCorrection, ended, lifecycle.Accepted, time.Minute),
			`{"event_type":"runtime_start_finished","event_id":"45110059-2c8c-5daf-ab5f-ee4e501542a1",` +
				`"account_id":"0d2f4c1e-9a55-4f0e-8f1c-0a4d3f6f7a11","occurred_at":"2026-11-23T18:15:07Z",` +
				`"data":{"action":"start","request_id":"req-1","runtime":"default","outcome":"accepted","duration_ms":60000,"corrects":"a35737eb-5c11-5e86-b189-5ce785f28662"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(c.record)
			require.NoError(t, err)
			assert.Equal(t, c.want, string(got))
			var back Record
			require.NoError(t, json.Unmarshal(got, &back))
			assert.Equal(t, c.record, back)
		})
	}
}

func TestEventIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{opID, "7e9b2d1c-64b1-4bb8-9d6e-55a1d0a3c002", "", "a/requested", "a"} {
		seen[EventID(id, PhaseRequested)], seen[EventID(id, PhaseEnded)] = true, true
	}
	assert.Len(t, seen, 10)
}

// Which errors of the integration speak of itself, so that the record is sent
// again, and which of the record.
func TestFinal(t *testing.T) {
	for _, c := range []struct {
		kind, message string
		want          bool
	}{
		{"storage_error", "disk", false},
		{"deadlock", "", false},
		{"database is locked", "", false},
		{"connection refused", "", false},
		{"throttled", "", false},
		{"", "", false},
		{"429", "slow down", false},
		{"500", "", false},
		{"400", "", true},
		{"422", "", true},
		{"4000", "", false},
		{"Invalid_Request", "the storage knows no such account", true},
		{events.UnnamedError, "Storage_Error: disk", false},
		{events.UnnamedError, "No such account", true},
		{events.UnnamedError, "", false},
	} {
		assert.Equal(t, c.want, isFinal(&events.RemoteError{Type: c.kind, Message: c.message}), "%s: %s", c.kind, c.message)
	}
}
