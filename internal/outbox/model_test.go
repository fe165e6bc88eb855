package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

const (
	modelRecords = 12
	// Each step of the model is followed by a tick, long enough for everything
	// that is due to be tried and for a disk to be found well; an unknown
	// outcome is held for two and a half. The library gives all its runs
	// together a day of the bubble's time.
	tick      = 4 * time.Second
	modelLate = 5 * tick / 2
)

// What an operation's records are, in the model. The zero value: not there.
type modelState int

const (
	pending modelState = iota + 1
	delivered
	parked
)

type modelOperation struct {
	op                  lifecycle.Operation
	requested, terminal modelState
	outcome             lifecycle.Outcome // last written one
	heldUntil           time.Time
	handed              bool
	// unwritten is an outcome that the disk has not taken yet.
	unwritten lifecycle.Outcome
	forgotten bool // delivered before a restart: only the sink knows it
}

// model is the outbox as a caller sees it, beside the real one.
type model struct {
	t    *rapid.T
	dir  string
	sink *sink
	gate *gate
	real *running
	disk *faultyDisk

	integration error // what the gate says
	full        bool  // the disk
	ops         []*modelOperation
}

func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The embedded interface hides the methods that a bubble does not allow.
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			dir, err := os.MkdirTemp(t.TempDir(), "")
			require.NoError(rt, err)
			g := &gate{}
			m := &model{t: rt, dir: dir, gate: g, sink: newSink(g.answer)}
			m.start(t)
			defer func() { m.real.stop() }()
			rt.Repeat(map[string]func(*rapid.T){
				"request":     m.request,
				"end":         m.end,
				"integration": m.setIntegration,
				"disk":        m.setDisk,
				"restart":     func(*rapid.T) { m.restart(t) },
				"wait":        func(*rapid.T) { m.tick() },
				"":            m.check,
			})
		})
	})
}

func (m *model) start(t *testing.T) {
	m.real, m.disk = startFaulty(t, Config{Dir: m.dir, Sender: m.sink, MaxRecords: modelRecords, LateReply: modelLate,
		RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond}, noSync)
	m.tick()
}

// tick lets the real outbox do all it can, and the model likewise.
func (m *model) tick() {
	after(tick)
	now := time.Now()
	for _, x := range m.ops {
		if x.unwritten != "" && !m.full {
			x.terminal, x.outcome = pending, x.unwritten
			x.unwritten = ""
		}
		if x.requested == pending {
			x.requested = m.sent(x.requested)
		}
		due := x.terminal == pending && x.unwritten == "" && !x.heldUntil.After(now)
		if due && x.requested != pending {
			x.handed = true
			x.terminal = m.sent(x.terminal)
		}
	}
}

func (m *model) sent(s modelState) modelState {
	switch {
	case m.integration == nil:
		return delivered
	case errors.Is(m.integration, usage.ErrRefused):
		return parked
	}
	return s
}

func (m *model) request(*rapid.T) {
	op := newOperation()
	var want error
	switch room, _ := m.room(); {
	case room+2 > modelRecords && m.real.Healthy() == nil:
		want = ErrFull // also when the disk is, unnoticed
	case m.full:
		want = ErrCannotWrite
	}
	require.ErrorIs(m.t, m.real.Requested(context.Background(), op), want)
	if want == nil {
		m.ops = append(m.ops, &modelOperation{op: op, requested: pending})
	}
	m.tick()
}

func (m *model) end(rt *rapid.T) {
	if len(m.ops) == 0 {
		rt.Skip("no operation")
	}
	x := rapid.SampledFrom(m.ops).Draw(rt, "operation")
	outcome := rapid.SampledFrom([]lifecycle.Outcome{
		lifecycle.Accepted, lifecycle.Rejected, lifecycle.NotSent, lifecycle.Unknown,
	}).Draw(rt, "outcome")
	last := x.outcome
	if x.unwritten != "" {
		last = x.unwritten
	}
	takes := !x.forgotten && (last == "" || last == lifecycle.Unknown && outcome != lifecycle.Unknown && !x.handed)
	var want error
	if takes && m.full {
		want = ErrCannotWrite
	}
	require.ErrorIs(m.t, m.real.Ended(x.op, outcome, time.Second), want)
	switch {
	case takes && m.full:
		x.unwritten = outcome
	case takes:
		x.terminal, x.outcome = pending, outcome
	}
	if takes {
		x.heldUntil = time.Time{}
		if outcome == lifecycle.Unknown {
			x.heldUntil = time.Now().Add(modelLate)
		}
	}
	m.tick()
}

func (m *model) setIntegration(rt *rapid.T) {
	m.integration = rapid.SampledFrom([]error{nil, errDown, usage.ErrRefused}).Draw(rt, "answers")
	m.gate.set(m.integration)
	m.tick()
}

func (m *model) setDisk(rt *rapid.T) {
	m.full = rapid.Bool().Draw(rt, "full")
	m.disk.fill(m.full)
	m.tick()
}

// restart comes with a disk that works; the others have tests of their own.
func (m *model) restart(t *testing.T) {
	if m.full {
		m.full = false
		m.disk.set(nil, false)
		m.tick()
	}
	m.real.stop()
	for _, x := range m.ops {
		if x.terminal == 0 {
			x.terminal, x.outcome = pending, lifecycle.Unknown
		}
		if x.requested == parked {
			x.requested = pending
		}
		if x.terminal == parked {
			x.terminal = pending
		}
		x.heldUntil, x.handed, x.forgotten = time.Time{}, true, true
	}
	m.start(t)
}

// room is what the records of the model take.
func (m *model) room() (all, inPark int) {
	for _, x := range m.ops {
		for _, s := range []modelState{x.requested, x.terminal} {
			if s != delivered {
				all++
			}
			if s == parked {
				inPark++
			}
		}
	}
	return all, inPark
}

// check compares the two. In the model a terminal record that is held in
// memory by a full disk is still open on disk, and takes the same room.
func (m *model) check(*rapid.T) {
	all, inPark := m.room()
	s := m.real.Stats()
	if s.Records != all || s.Parked != inPark {
		m.t.Fatalf("%d records and %d parked, want %d and %d", s.Records, s.Parked, all, inPark)
	}
	if len(m.sink.broken) > 0 {
		m.t.Fatal(m.sink.broken)
	}
	at := map[string]int{}
	records := m.sink.records()
	for i, r := range records {
		if before, again := at[r.EventID]; again {
			m.t.Fatalf("%+v delivered at %d and %d", r, before, i)
		}
		at[r.EventID] = i
	}
	for _, x := range m.ops {
		begin, begun := at[usage.EventID(x.op.ID, usage.PhaseRequested)]
		end, ended := at[usage.EventID(x.op.ID, usage.PhaseEnded)]
		if begun != (x.requested == delivered) || ended != (x.terminal == delivered) {
			m.t.Fatalf("%s: delivered %t and %t, model %s", x.op.ID, begun, ended, fmt.Sprintf("%+v", *x))
		}
		if ended && records[end].Data.Outcome != x.outcome {
			m.t.Fatalf("outcome %s delivered, want %s", records[end].Data.Outcome, x.outcome)
		}
		if begun && ended && begin > end && !x.forgotten {
			m.t.Fatalf("%s ended before it began", x.op.ID)
		}
	}
}
