package usage

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// memoryRecords is how many of the latest records a Memory keeps.
const memoryRecords = 1000

// Memory keeps the latest records for local checks and forgets the oldest. It
// survives nothing. Its zero value is empty; all methods are safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	records []Record // oldest first
}

// Requested keeps the `requested` record of op. It never fails.
func (m *Memory) Requested(_ context.Context, op lifecycle.Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(NewRequested(op))
	return nil
}

// Ended keeps the terminal record of op. A terminal record that is there
// already stays, unless its outcome is unknown: then the new one takes its
// place. It never fails.
func (m *Memory) Ended(op lifecycle.Operation, outcome lifecycle.Outcome, took time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := NewEnded(op, outcome, took, time.Now())
	at := slices.IndexFunc(m.records, func(have Record) bool { return have.EventID == r.EventID })
	switch {
	case at < 0:
		m.add(r)
	case m.records[at].Data.Outcome == lifecycle.Unknown:
		m.records[at] = r
	}
	return nil
}

func (m *Memory) add(r Record) {
	if len(m.records) == memoryRecords {
		m.records = slices.Delete(m.records, 0, 1)
	}
	m.records = append(m.records, r)
}

// Records returns a copy of what is kept, oldest first; never nil, so that it
// is a JSON array.
func (m *Memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Record{}, m.records...)
}
