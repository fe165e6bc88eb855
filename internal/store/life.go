package store

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

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
	replyYes  event = iota // a reply: the worker took it on
	replyNo                // a reply: the worker said no
	abandoned              // its process has not published it, and never will; or no caller waits for it
	expired                // past closes_at, and the history has been read
)

// effect is what a transition writes beside the new state and its usage record, all in
// one transaction.
type effect uint

const (
	fan      effect = 1 << iota // the same end for all that joined: 13, and 17 for them
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
	case s == joined && e == replyYes: // 2 and 15, where the leader is accepted already
		return accepted, 0
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

// phases are those of the usage records of an operation, by their positions: the order
// they are sent in. Only the one at operation.sent can be due: a record is made of its
// operation when it is sent, and has no row.
var phases = [...]usage.Phase{usage.PhaseRequested, usage.PhaseEnded, usage.PhaseCorrection}

// parkedFor is how long a parked record rests before it is offered again.
const parkedFor = time.Hour

// record is the usage record of op at a position. It is the same each time.
func (op *Operation) record(position int) usage.Record {
	phase := phases[position]
	at, outcome, ms, joined := op.EndedAt, op.Outcome, op.durationMS, op.Leader != ""
	switch {
	case phase == usage.PhaseRequested:
		at, joined = op.RequestedAt, op.joined
	case phase == usage.PhaseEnded && op.Corrected:
		at, outcome, ms = op.unknownAt, lifecycle.Unknown, op.unknownMS
	}
	r := usage.New(lifecycle.Operation{ID: op.ID, Action: op.Action, Account: op.Account, RequestID: op.RequestID},
		phase, at, outcome, time.Duration(ms)*time.Millisecond)
	r.Data.Joined = joined
	return r
}

// eventID is the event id of the record that is sent next.
func (op *Operation) eventID() string { return usage.EventID(op.ID, phases[op.sent]) }

// receipt is op with its usage records.
func (op *Operation) receipt() lifecycle.Receipt {
	r := op.Receipt
	for position := range op.records {
		record := op.record(position)
		r.Usage = append(r.Usage, lifecycle.Delivery{EventID: record.EventID, EventType: record.EventType, DeliveredAt: op.sentAt[position]})
	}
	return r
}

// addRecord gives op one more record, which is due at once unless another comes
// first. The caller writes op.
func (t *tx) addRecord(op *Operation) {
	op.records++
	switch {
	case op.sent < op.records-1:
	case t.store.config.Records == KeepRecords:
		op.sent++
	default:
		op.dueSince = t.now
		op.dueAt = t.lease(*op)
	}
}

// lease takes a record that becomes due for this process to send, if it has room; and
// returns from when on others may.
func (t *tx) lease(op Operation) (dueAt int64) {
	if t.delivery.room(op.Account) > 0 && t.delivery.reserve(op) {
		t.leased = append(t.leased, op)
		return t.leaseEnd()
	}
	t.left = true
	return t.now
}

// leaseEnd is that of a lease that begins now.
func (t *tx) leaseEnd() int64 { return t.now + (t.store.config.Timeout + leaseSlack).Microseconds() }

// dueAccounts returns at most $2 accounts after $1 that have records due at $3. It is
// a loose scan of the index: a step for each account, whatever it has waiting.
const dueAccounts = `with recursive heads (account) as (
		select min(account) from operations where sent < records and account > $1
		union all
		select (select min(account) from operations where sent < records and account > heads.account)
		from heads where heads.account is not null
	) select account from heads where account is not null and (select min(due_at) from operations
		where sent < records and operations.account = heads.account) <= $3 limit $2`

// claim leases records of these accounts that were left, as far as there is room, at most so
// many. Each account has its turn, while there is time for its locks: last is the last that
// had. What other replicas lease at this time is left to them.
func (t *tx) claim(accounts []string, most int) (last string) {
	began := time.Now()
	for i, account := range accounts {
		if i > 0 && time.Since(began) >= lockTimeout/2 {
			break
		}
		last = account
		others := len(accounts) - 1 - i
		room := min(t.delivery.room(account), most-others)
		if room == 0 {
			continue
		}
		list := query(t, scanOperation, `with due as materialized (select id from operations where sent < records and account = $1 and due_at <= $2
				order by due_at limit $4`+t.store.engine.skipLocked+`)
			update operations set due_at = $3 where id in (select id from due) returning `+operationColumns, account, t.now, t.leaseEnd(), room)
		for _, op := range list {
			if t.delivery.reserve(op) { // else it is on its way: its lease has ended, by a clock that was set
				t.leased = append(t.leased, op)
			}
		}
		most -= len(list)
	}
	return last
}

// acknowledge ends the delivery of the record at a position, however late, or drops
// a parked one, and makes the next record of its operation due. It locks nothing where
// that is done: each replica is told of each.
func (t *tx) acknowledge(id string, position int, drop bool) (known bool) {
	op := first(query(t, scanOperation, `update operations set sent = sent + 1, attempts = 0, parked = '', due_since = $3, due_at = $3,
		requested_sent_at = case when sent = 0 and $4 = 0 then $3 else requested_sent_at end,
		ended_sent_at = case when sent = 1 and $4 = 0 then $3 else ended_sent_at end,
		corrected_sent_at = case when sent = 2 and $4 = 0 then $3 else corrected_sent_at end
		where id = $1 and sent = $2 and sent < records and ($4 = 0 or parked <> '') returning `+operationColumns, id, position, t.now, number(drop)))
	if op.ID == "" {
		return false
	}
	t.acknowledged = append(t.acknowledged, op.Account)
	if op.sent < op.records {
		t.exec(`update operations set due_at = $2 where id = $1`, id, t.lease(op))
	}
	return true
}

// retry makes a record due again after wait. With a reason it is parked, and counts
// as due from then on.
func (t *tx) retry(op Operation, wait time.Duration, reason string) {
	again := t.now + wait.Microseconds()
	t.exec(`update operations set due_at = $3, due_since = case when $4 = '' then due_since else $3 end, parked = $4, attempts = attempts + 1
		where id = $1 and sent = $2 and sent < records`, op.ID, op.sent, again, reason)
}

// offer makes some parked records due that rest.
func (t *tx) offer() int64 {
	t.left = true
	return t.exec(`update operations set due_at = $1, due_since = $1 where id in
		(select id from operations where parked <> '' and due_at > $1 order by due_at limit $2)`, t.now, some)
}

// deliveryID names a record to the usage integration, which repeats it in its
// acknowledgement: that counts in any process, however late it comes.
func (op *Operation) deliveryID() string { return op.ID + "." + strconv.Itoa(op.sent) }

func parseDeliveryID(text string) (id string, position int, ok bool) {
	id, number, _ := strings.Cut(text, ".")
	position, err := strconv.Atoi(number)
	return id, position, err == nil && isID(id) && position >= 0 && position < len(phases) && strconv.Itoa(position) == number
}

// isID reports whether id can be that of an operation; anything else of others goes
// no further.
func isID(id string) bool { return len(id) == 36 && uuid.Validate(id) == nil }
