package outbox

import (
	"container/heap"
	"container/list"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
)

// place is where a record of an operation stands.
type place int

const (
	absent  place = iota // not on disk; for a terminal record: the operation is open
	waiting              // on disk, to be delivered
	sending              // on disk, handed to the sender
	settled              // acknowledged or parked
)

// operation is the index entry of an operation; its records stay on disk.
type operation struct {
	id     string // empty when a previous process began it
	number uint64

	requested, terminal           place
	requestedSince, terminalSince time.Time

	// outcome is that of the latest terminal record, empty while open.
	outcome lifecycle.Outcome
	// writing counts terminal records on their way to disk. Until they are
	// there, the one on disk is not delivered.
	writing int
	// handed: the sender has seen the terminal record, so it is final.
	handed bool

	// due is when the record to be delivered next may go.
	due       time.Time
	heldUntil time.Time // of a terminal record with an unknown outcome
	retryAt   time.Time
	attempts  int // failed ones, of the record to be delivered next

	schedule *schedule // the one it is in, if any
	position int       // in it
	element  *list.Element
}

// Keys of an operation's rows. Odd ones are terminal, so sorted keys are in
// order of delivery.
func requestedKey(number uint64) uint64 { return 2 * number }
func terminalKey(number uint64) uint64  { return 2*number + 1 }

// head is the record to be delivered next: a terminal record waits until its
// `requested` is settled.
func (op *operation) head() (key uint64, at *place, since time.Time) {
	if op.requested != settled {
		return requestedKey(op.number), &op.requested, op.requestedSince
	}
	return terminalKey(op.number), &op.terminal, op.terminalSince
}

// deliverable reports whether the head is on disk and final enough to go once
// it is due.
func (op *operation) deliverable() bool {
	_, at, _ := op.head()
	return *at == waiting && (at == &op.requested || op.writing == 0)
}

// takesEnd reports whether a terminal record would be the first, or replace an
// unknown outcome that is not delivered yet.
func (op *operation) takesEnd(outcome lifecycle.Outcome) bool {
	switch {
	case op.requested == absent:
		return false
	case op.outcome == "":
		return true
	}
	return op.outcome == lifecycle.Unknown && outcome != lifecycle.Unknown && !op.handed
}

// schedule is a priority queue of operations. An operation is in one at most
// and knows its position, so it can be taken out of the middle.
type schedule struct {
	items  []*operation
	before func(a, b *operation) bool
}

func byNumber(a, b *operation) bool { return a.number < b.number }

func byDue(a, b *operation) bool { return a.due.Before(b.due) }

func (s *schedule) add(op *operation) {
	op.schedule = s
	heap.Push(s, op)
}

func (s *schedule) first() *operation {
	if len(s.items) == 0 {
		return nil
	}
	return s.items[0]
}

// unschedule takes op out of the schedule it is in, if any.
func (op *operation) unschedule() {
	if op.schedule != nil {
		heap.Remove(op.schedule, op.position)
		op.schedule = nil
	}
}

// The rest implements heap.Interface.

func (s *schedule) Len() int           { return len(s.items) }
func (s *schedule) Less(i, j int) bool { return s.before(s.items[i], s.items[j]) }

func (s *schedule) Swap(i, j int) {
	s.items[i], s.items[j] = s.items[j], s.items[i]
	s.items[i].position, s.items[j].position = i, j
}

func (s *schedule) Push(x any) {
	op := x.(*operation)
	op.position = len(s.items)
	s.items = append(s.items, op)
}

func (s *schedule) Pop() any {
	last := len(s.items) - 1
	op := s.items[last]
	s.items[last] = nil
	s.items = s.items[:last]
	return op
}
