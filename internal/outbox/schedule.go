package outbox

import "container/heap"

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
