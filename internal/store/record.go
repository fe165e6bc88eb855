package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// The positions of the usage records of an operation, and the order they are sent
// in. Only the one at operation.sent can be due: a record is made of its operation
// when it is sent, and has no row.
const (
	positionRequested = iota
	positionTerminal
	positionCorrection
	positions
)

var phases = [positions]usage.Phase{usage.PhaseRequested, usage.PhaseEnded, usage.PhaseCorrection}

// parkedFor is how long a parked record rests before it is offered again.
const parkedFor = time.Hour

// record is the usage record of op at a position. It is the same each time.
func (op *Operation) record(position int) usage.Record {
	at, outcome, ms, joined := op.EndedAt, op.Outcome, op.durationMS, op.Leader != ""
	switch {
	case position == positionRequested:
		at, joined = op.RequestedAt, op.joined
	case position == positionTerminal && op.Corrected:
		at, outcome, ms = op.unknownAt, lifecycle.Unknown, op.unknownMS
	}
	r := usage.New(lifecycle.Operation{ID: op.ID, Action: op.Action, Account: op.Account, RequestID: op.RequestID},
		phases[position], at, outcome, time.Duration(ms)*time.Millisecond)
	r.Data.Joined = joined
	return r
}

// eventID is the event id of the record that is sent next.
func (op *Operation) eventID() string { return usage.EventID(op.ID, phases[op.sent]) }

// RecordState is where a usage record of an operation is.
type RecordState struct {
	EventID, EventType string
	DeliveredAt        time.Time // zero before, and where it was dropped
}

// Records are the usage records of op in their order.
func (op *Operation) Records() (list []RecordState) {
	for position := range op.records {
		r := op.record(position)
		list = append(list, RecordState{r.EventID, r.EventType, op.sentAt[position]})
	}
	return list
}

// addRecord gives op one more record, which is due at once unless another comes
// first. The caller writes op.
func (t *tx) addRecord(op *Operation) {
	if t.store.config.Records == NoRecords {
		return
	}
	op.records++
	switch {
	case t.store.config.Records == KeepRecords:
		op.sent++
	case op.sent == op.records-1:
		op.dueSince = t.now
		op.dueAt = t.send(*op)
	}
}

// send takes a record that becomes due for this process to send once the transaction
// is confirmed, if it has room; and returns from when on others may.
func (t *tx) send(op Operation) (dueAt int64) {
	if t.delivery.reserve(op.Account) {
		t.claims = append(t.claims, op)
		return t.now + (t.store.config.Timeout + leaseSlack).Microseconds()
	}
	t.left = true
	return t.now
}

// claim takes at most most records that were left, of accounts after the one named
// by after, so that none comes twice before all others had their turn. It reports the
// last account, empty after all, and whether there was any record.
func (t *tx) claim(after string, most int) (last string, any bool, err error) {
	// A loose scan of the index: it costs a step for each account, whatever an
	// account has waiting.
	accounts, err := t.strings(`with recursive heads (account) as (
			select min(account) from operations where sent < records and parked = '' and account > $1
			union all
			select (select min(account) from operations where sent < records and parked = '' and account > heads.account)
			from heads where heads.account is not null
		) select account from heads where account is not null and (select min(due_at) from operations
			where sent < records and parked = '' and operations.account = heads.account) <= $2 limit $3`, after, t.now, most)
	if err != nil {
		return after, true, err
	}
	for _, account := range accounts {
		if len(t.claims) >= most {
			return last, true, nil
		}
		last = account
		own, err := t.all(`where sent < records and parked = '' and account = $1 and due_at <= $2 order by due_at limit $3`,
			account, t.now, min(t.delivery.room(account), most-len(t.claims)))
		if err != nil {
			return after, true, err
		}
		for _, op := range own {
			if err := t.take(op); err != nil {
				return after, true, err
			}
		}
	}
	if len(accounts) < most {
		last = "" // all had their turn
	}
	return last, len(accounts) > 0, nil
}

// take claims a record that was left, unless another replica has it.
func (t *tx) take(op Operation) error {
	dueAt := t.send(op)
	if dueAt == t.now {
		return nil // no room any more
	}
	n, err := t.exec(`update operations set due_at = $3 where id = $1 and sent = $2 and sent < records and parked = '' and due_at <= $4`,
		op.ID, op.sent, dueAt, t.now)
	if err == nil && n == 0 {
		t.claims = t.claims[:len(t.claims)-1]
		t.delivery.release(op)
	}
	return err
}

// acknowledge ends the delivery of the record at a position, however late, or drops
// a parked one, and makes the next record of its operation due.
func (t *tx) acknowledge(id string, position int, drop bool) (known bool, err error) {
	which, at := ``, t.now
	if drop {
		which, at = ` and parked <> ''`, 0
	}
	var records int
	known, err = t.scan([]any{&records}, `update operations set sent = sent + 1, attempts = 0, parked = '', due_since = $3, due_at = $3,
		requested_sent_at = case when sent = 0 then $4 else requested_sent_at end,
		ended_sent_at = case when sent = 1 then $4 else ended_sent_at end,
		corrected_sent_at = case when sent = 2 then $4 else corrected_sent_at end
		where id = $1 and sent = $2 and sent < records`+which+` returning records`, id, position, t.now, at)
	if err != nil || !known || position+1 == records {
		return known, err
	}
	op, err := t.find(id)
	if err == nil {
		_, err = t.exec(`update operations set due_at = $2 where id = $1`, id, t.send(op))
	}
	return true, err
}

// retry makes a record due again after wait, or parks it with a reason.
func (t *tx) retry(op Operation, wait time.Duration, reason string) error {
	_, err := t.exec(`update operations set due_at = $3, parked = $4, attempts = attempts + 1
		where id = $1 and sent = $2 and sent < records and parked = ''`, op.ID, op.sent, t.now+wait.Microseconds(), reason)
	return err
}

// offer makes parked records due that have rested, or all.
func (t *tx) offer(all bool) (int64, error) {
	t.left = true
	return t.exec(`update operations set due_at = $1, attempts = 0, parked = '' where parked <> '' and (due_at <= $1 or $2 = 1)`,
		t.now, number(all))
}

// drop gives up the parked record with that event id.
func (t *tx) drop(eventID string) (known bool, err error) {
	parked, err := t.all(`where parked <> ''`)
	for _, op := range parked {
		if op.eventID() == eventID {
			return t.acknowledge(op.ID, op.sent, true)
		}
	}
	return false, err
}

// deliveryID names a record to the usage integration, which repeats it in its
// acknowledgement: that counts in any process, however late it comes.
func (op *Operation) deliveryID() string { return op.ID + "." + strconv.Itoa(op.sent) }

var errDeliveryID = errors.New("no id of a delivery")

func parseDeliveryID(text string) (id string, position int, err error) {
	id, number, found := strings.Cut(text, ".")
	position, err = strconv.Atoi(number)
	if !found || err != nil {
		return "", 0, fmt.Errorf("%w: %q", errDeliveryID, text)
	}
	return id, position, nil
}
