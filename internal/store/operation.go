package store

import (
	"errors"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
)

const (
	// permission is how long after the begin of its insert an operation may be
	// published, and so how much later than its own waits it closes.
	permission = 5 * time.Second
	// slotKept is how long an accepted start that is never seen ready keeps others
	// from starting beside it.
	slotKept = 10 * time.Minute
	// keyKept is how long an idempotency key answers, and maxKeys how many an
	// account may have meanwhile.
	keyKept = 24 * time.Hour
	maxKeys = 10_000
)

// decided is what becomes of a write; refused says why nothing does.
type decided struct {
	lifecycle.Decision
	Operation
	refused error
}

// insert is rows 1 to 5 of the table.
func (t *tx) insert(w lifecycle.Write) decided {
	if w.Key != "" {
		if op := t.find(w.ID); op.ID != "" { // 5
			return leads(op)
		}
		if known, err := t.takeKey(w); err != nil || known.ID != "" { // 4
			return decided{lifecycle.Known, known, err}
		}
	}
	if t.full() {
		t.freeKeys(w.ID)
		return decided{refused: lifecycle.ErrFull}
	}
	mayJoin := w.Action == lifecycle.Start && w.MayMeet()
	for range 3 { // who frees or takes the slot meanwhile has committed by the second time
		leader := t.holder()
		if leader.ID != "" && mayJoin {
			return t.join(w, leader)
		}
		op, added := t.add(w, "", w.Action == lifecycle.Start && leader.ID == "")
		if added && w.Action == lifecycle.Stop && leader.ID != "" {
			t.freeSlot()
		}
		if op.ID != "" { // 1; 5 is published only if it is open and in time, which its process knows
			return leads(op)
		}
	}
	t.freeKeys(w.ID)
	return decided{refused: errors.New("the start slot changes hands all the time")}
}

func leads(op Operation) decided {
	if op.Leader != "" {
		return decided{lifecycle.Joined, op, nil}
	}
	return decided{lifecycle.Lead, op, nil}
}

// meet is rows 3 and 4 without the others: what w would have without an operation
// of its own. As the slot is locked, insert attaches w, and adds nothing.
func (t *tx) meet(w lifecycle.Write) decided {
	if w.Key != "" {
		if known := t.keyed(w.Account, w.Key); known.ID != "" {
			return decided{lifecycle.Known, known, nil}
		}
	}
	if w.Action == lifecycle.Start && t.own(w, t.holder()).ID != "" {
		return t.insert(w)
	}
	return decided{Decision: lifecycle.New}
}

// own returns the operation of the account of w that is leader, or has joined it.
func (t *tx) own(w lifecycle.Write, leader Operation) Operation {
	if leader.ID == "" || leader.Account == w.Account {
		return leader
	}
	return t.one(`where leader = $1 and leader <> '' and account = $2 limit 1`, leader.ID, w.Account)
}

// join is rows 2 and 3.
func (t *tx) join(w lifecycle.Write, leader Operation) decided {
	if own := t.own(w, leader); own.ID != "" {
		if w.Key != "" {
			t.exec(`update keys set operation = $3 where account = $1 and name = $2`, w.Account, w.Key, own.ID)
		}
		return decided{lifecycle.Attached, own, nil}
	}
	op, added := t.add(w, leader.ID, false)
	if !added { // 5
		return leads(op)
	}
	return decided{lifecycle.Joined, t.follow(op, leader), nil}
}

// follow notes that op has joined leader, whose row is locked. It has its end, if it is
// accepted.
func (t *tx) follow(op, leader Operation) Operation {
	if !leader.followed {
		t.exec(`update operations set followed = 1 where id = $1`, leader.ID)
	}
	if leader.Outcome == lifecycle.Accepted {
		return t.end(op.ID, replyYes, End{})
	}
	return op
}

// add inserts an operation with its `requested` record. Where its id is taken it returns
// the one that has it; none where the slot was to be taken, and is not free.
func (t *tx) add(w lifecycle.Write, leader string, slot bool) (op Operation, added bool) {
	op = Operation{Receipt: lifecycle.Receipt{
		ID: w.ID, Action: w.Action, Account: w.Account, RequestID: w.RequestID, Leader: leader,
		RequestedAt: timeOf(t.now), Entitlement: w.Entitlement,
	}, slot: slot, joined: leader != ""}
	t.open(&op)
	leased := len(t.leased)
	if t.store.config.Records != NoRecords {
		t.addRecord(&op)
	}
	added = t.scan([]any{&op.Sequence}, `insert into operations (id, action, account, request_id, requested_at, closes_at, leader, slot, slot_until,
		reason, plan_id, joined, records, sent, due_since, due_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) on conflict do nothing returning seq`,
		op.ID, op.Action, op.Account, op.RequestID, micros(op.RequestedAt), micros(op.ClosesAt), op.Leader, number(slot), op.slotUntil,
		op.Reason, op.PlanID, number(op.joined), op.records, op.sent, op.dueSince, op.dueAt)
	if added {
		t.changed = append(t.changed, op)
		return op, true
	}
	t.delivery.release(t.leased[leased:]...)
	t.leased = t.leased[:leased]
	return t.find(w.ID), false
}

// open gives op the times of one that may be published from now on.
func (t *tx) open(op *Operation) {
	until := timeOf(t.now).Add(permission + t.store.config.Timeout)
	op.slotUntil, op.ClosesAt = micros(until), until.Add(t.store.config.LateReply)
}

// find returns the operation with that id, locked until the end of the
// transaction; none where there is none.
func (t *tx) find(id string) Operation {
	return t.one(`where id = $1`+t.store.engine.forUpdate, id)
}

// holder returns the start that has the slot, locked; none, and the slot is free,
// where that took too long.
func (t *tx) holder() Operation {
	op := t.one(`where slot = 1` + t.store.engine.forUpdate)
	if op.ID != "" && op.slotUntil <= t.now {
		t.freeSlot()
		return Operation{}
	}
	return op
}

func (t *tx) freeSlot() { t.exec(`update operations set slot = 0 where slot = 1`) }

// keyed returns the operation that a key of the account stands for.
func (t *tx) keyed(account, name string) Operation {
	return t.one(`where id = (select operation from keys where account = $1 and name = $2 and created_at > $3)`,
		account, name, t.ago(keyKept))
}

// takeKey takes the key of w for its operation, or returns the one that has it. The
// key is locked before anything else is: another replica may have a write with the
// same one under way.
func (t *tx) takeKey(w lifecycle.Write) (known Operation, err error) {
	var keys int
	t.scan([]any{&keys}, `select count(*) from keys where account = $1 and created_at > $2`, w.Account, t.ago(keyKept))
	n := t.exec(`insert into keys (account, name, operation, action, created_at) values ($1, $2, $3, $4, $5)
		on conflict (account, name) do update set operation = excluded.operation, action = excluded.action, created_at = excluded.created_at
		where keys.created_at <= $6`, w.Account, w.Key, w.ID, w.Action, t.now, t.ago(keyKept))
	switch {
	case n == 0:
		return t.keyed(w.Account, w.Key), nil
	case keys >= maxKeys:
		t.freeKeys(w.ID)
		return known, lifecycle.ErrTooManyKeys
	}
	return known, nil
}

func (t *tx) freeKeys(operation string) { t.exec(`delete from keys where operation = $1`, operation) }

// End says more about an end than its event.
type End struct {
	// Took is from the request to the end by the monotonic clock of the process
	// that published it; 0 where that is not known.
	Took time.Duration
	// ErrorType and ErrorMessage are the worker's.
	ErrorType, ErrorMessage string
}

// end applies e to the operation with that id, and returns it as it is then.
func (t *tx) end(id string, e event, how End) Operation {
	op := t.find(id)
	if op.state() == joined && (e == abandoned || e == expired) && t.waits(op) {
		return op
	}
	if e == expired && t.now < micros(op.ClosesAt) {
		return op // it leads since it was looked for
	}
	from := op.state()
	to, do := t.store.next(from, e)
	switch {
	case to == from:
		if (e == replyYes || e == replyNo) && op.Outcome != "" && (op.Outcome == lifecycle.Accepted) != (e == replyYes) { // 18
			t.contradicted = append(t.contradicted, op)
		}
		return op
	case do&takeID != 0:
		n := t.exec(`insert into operations (id, outcome, ended_at) values ($1, $2, $3) on conflict (id) do nothing`, id, lifecycle.NotSent, t.now)
		if n == 0 && t.find(id).ID != "" { // it has arrived meanwhile
			return t.end(id, e, how)
		}
		return Operation{Receipt: lifecycle.Receipt{ID: id, Outcome: lifecycle.NotSent}}
	}
	if to == corrected {
		op.unknownAt, op.unknownMS = op.EndedAt, op.durationMS
	}
	was := op.Outcome
	op.Outcome, op.Corrected, op.EndedAt = outcome(to, e), to == corrected, timeOf(t.now)
	switch {
	case op.Leader != "":
		op.durationMS = 0 // the time is its leader's
	case how.Took > 0:
		op.durationMS = how.Took.Milliseconds()
	default:
		op.durationMS = max(0, op.EndedAt.Sub(op.RequestedAt).Milliseconds())
	}
	op.ErrorType, op.ErrorMessage = how.ErrorType, how.ErrorMessage
	if op.Outcome == lifecycle.Accepted {
		op.AcceptedAt = timeOf(t.now)
	}
	op.slot = op.slot && do&freeSlot == 0
	if op.records > 0 { // none at all for one that began without
		t.addRecord(&op)
	}
	t.exec(`update operations set outcome = $2, corrected = $3, ended_at = $4, accepted_at = $5, slot = $6, slot_until = $7,
		error_type = $8, error_message = $9, duration_ms = $10, unknown_at = $11, unknown_ms = $12,
		records = $13, sent = $14, due_since = $15, due_at = $16 where id = $1`,
		id, op.Outcome, number(op.Corrected), t.now, micros(op.AcceptedAt), number(op.slot), micros(timeOf(t.now).Add(slotKept)),
		op.ErrorType, op.ErrorMessage, op.durationMS, micros(op.unknownAt), op.unknownMS, op.records, op.sent, op.dueSince, op.dueAt)
	t.changed = append(t.changed, op)
	if op.Action == lifecycle.Stop { // a start whose insert it did not see may have taken the slot before it
		t.exec(`update operations set slot = 0 where slot = 1 and seq < $1`, op.Sequence)
	}
	if do&freeKeys != 0 {
		t.freeKeys(id)
	}
	if do&fan != 0 && op.followed {
		t.fan(op, was)
	}
	return op
}

// waits reports whether an operation that joined gets the end of its leader, soon.
func (t *tx) waits(op Operation) bool {
	leader := t.find(op.Leader)
	return leader.ID != "" && leader.Outcome != lifecycle.NotSent
}

// fan gives the end of a leader to all that have the outcome that it had before: they wait
// for it, or are unknown with it, which corrects them. It takes one statement, since there
// may be thousands, which locks them in their order. Records that are only kept count as sent.
func (t *tx) fan(leader Operation, was lifecycle.Outcome) {
	keep := t.store.config.Records == KeepRecords
	list := query(t, scanOperation, `update operations set outcome = $3, corrected = $4, ended_at = $5, accepted_at = $6, duration_ms = 0,
		unknown_at = case when $4 = 1 then ended_at else 0 end, unknown_ms = case when $4 = 1 then duration_ms else 0 end,
		due_since = case when sent = records and $7 = 0 then $5 else due_since end, due_at = case when sent = records and $7 = 0 then $5 else due_at end,
		sent = sent + case when records > 0 then $7 else 0 end, records = records + case when records > 0 then 1 else 0 end
		where id in (select id from operations where leader = $1 and leader <> '' and outcome = $2`+t.store.engine.forUpdate+`) returning `+operationColumns,
		leader.ID, was, leader.Outcome, number(leader.Corrected), t.now, micros(leader.AcceptedAt), number(keep))
	t.left = t.left || len(list) > 0 && !keep
	t.changed = append(t.changed, list...)
}

// decide is rows 14 to 16, for an operation whose leader was not sent and whose
// caller waits.
func (t *tx) decide(id string) decided {
	op := t.find(id)
	if op.state() != joined {
		return leads(op)
	}
	if t.waits(op) {
		return decided{lifecycle.Joined, op, nil}
	}
	// In an order that an index has: PostgreSQL would look for any among all rows.
	stop := t.one(`where action = $1 and seq > $2 order by seq desc limit 1`, lifecycle.Stop, op.Sequence)
	if stop.ID != "" || t.now >= micros(op.ClosesAt) {
		return decided{lifecycle.Joined, t.end(id, abandoned, End{}), nil} // 16
	}
	if holder := t.holder(); holder.ID != "" { // 15
		t.exec(`update operations set leader = $2 where id = $1`, id, holder.ID)
		op.Leader = holder.ID
		return decided{lifecycle.Joined, t.follow(op, holder), nil}
	}
	op.Leader, op.slot = "", true // 14
	t.open(&op)
	t.exec(`update operations set leader = '', slot = 1, slot_until = $2, closes_at = $3 where id = $1`,
		id, op.slotUntil, micros(op.ClosesAt))
	return decided{lifecycle.Lead, op, nil}
}

// reached notes that the target state of action was seen, by provider, in a
// status that was asked for that long ago. Operations that others supersede
// (lifecycle.Receipt.Supersedes) did not lead there; as thousands may have joined, most
// are compared with the latest of the others alone.
func (t *tx) reached(action lifecycle.Action, provider string, ago time.Duration) {
	list := query(t, scanOperation, `with others as materialized (select seq, accepted_at from operations
			where action <> $3 and outcome = $4 and ended_at > 0 and ended_at > $6 order by ended_at desc)
		update operations set reached_at = $1, provider = $2, slot = 0
		where action = $3 and outcome = $4 and reached_at = 0 and accepted_at < $5 and accepted_at > $6 and ended_at > 0 and ended_at > $6
		and (accepted_at > (select max(accepted_at) from others) or not exists
			(select 1 from others where others.seq > operations.seq and others.accepted_at >= operations.accepted_at))
		returning `+operationColumns, t.now, provider, action, lifecycle.Accepted, t.ago(ago), t.ago(slotKept))
	t.changed = append(t.changed, list...)
}
