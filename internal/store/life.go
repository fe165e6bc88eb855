package store

import "github.com/busdk/bus-api-provider-vm/internal/lifecycle"

// state is where an operation is in its life, as its row says.
type state int

const (
	none      state = iota
	stub            // its id is taken, and it has no records
	open            // without an end
	joined          // without an end, waiting for that of its leader
	accepted        // the worker took it on
	rejected        // the worker said no
	unknown         // no reply came in time
	notSent         // it was not published, and will never be
	corrected       // unknown first, then a reply came: its outcome is that of the reply
)

// event is what may happen to an operation after its insert.
type event int

const (
	replyYes      event = iota // a reply: the worker took it on
	replyNo                    // a reply: the worker said no
	abandoned                  // its process has not published it, and never will; or no caller waits for it
	expired                    // past closes_at, and the history has been read
	leaderExpired              // what expired is its leader
)

// effect is what a transition writes beside the new state and its usage record, all in
// one transaction.
type effect uint

const (
	fan      effect = 1 << iota // the same event, for all that joined
	freeSlot                    // others may start
	freeKeys                    // a repetition with the same key is another operation
	takeID                      // an insert that is still under way finds its id taken
)

// next is the life of an operation once it may have been inserted: the rows of
// the table in docs/adr/0008-operations.md, by their numbers. What is not in
// it changes nothing (18, 19).
func next(s state, e event) (state, effect) {
	switch {
	case s == open && e == abandoned: // 7
		return notSent, freeSlot | freeKeys
	case s == none && e == abandoned: // 8
		return stub, takeID
	case s == open && e == replyYes: // 10
		return accepted, fan
	case s == open && e == replyNo: // 11
		return rejected, freeSlot | fan
	case s == open && e == expired: // 12
		return unknown, freeSlot | fan
	case s == joined && e == replyYes: // 13, and 15 where the new leader is accepted
		return accepted, 0
	case s == joined && e == replyNo: // 13
		return rejected, 0
	case s == joined && e == leaderExpired: // 13
		return unknown, 0
	case s == joined && (e == abandoned || e == expired): // 16, only when the leader was not sent
		return notSent, freeKeys
	case s == unknown && (e == replyYes || e == replyNo): // 17
		return corrected, fan
	}
	return s, 0
}

// state reads the row.
func (op *Operation) state() state {
	switch {
	case op.ID == "":
		return none
	case op.Action == "":
		return stub
	case op.Corrected:
		return corrected
	case op.Outcome == "" && op.Leader != "":
		return joined
	}
	return map[lifecycle.Outcome]state{
		"": open, lifecycle.Accepted: accepted, lifecycle.Rejected: rejected,
		lifecycle.Unknown: unknown, lifecycle.NotSent: notSent,
	}[op.Outcome]
}

// outcome is what a row says after e led to s.
func outcome(s state, e event) lifecycle.Outcome {
	switch {
	case s == unknown:
		return lifecycle.Unknown
	case s == notSent:
		return lifecycle.NotSent
	case e == replyYes:
		return lifecycle.Accepted
	}
	return lifecycle.Rejected
}
