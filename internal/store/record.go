package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// The states of a record. Blocked ones are not in the index of due ones, which
// they would make slow.
const (
	blocked   = iota // behind another record of its operation
	due              // from due_at on
	parked           // refused for good; offered again from due_at on
	delivered        // acknowledged
	dropped          // given up by an operator
)

// The positions of the records of an operation.
const (
	positionRequested = iota
	positionTerminal
	positionCorrection
)

// parkedFor is how long a parked record rests before it is offered again.
const parkedFor = time.Hour

// addRecord writes the record of op at a position, due at once unless another of
// its operation comes first.
func (t *tx) addRecord(op Operation, position int, took time.Duration) error {
	if t.store.config.Records == NoRecords {
		return nil
	}
	phase, at := usage.PhaseRequested, op.RequestedAt
	switch position {
	case positionTerminal:
		phase, at = usage.PhaseEnded, op.EndedAt
	case positionCorrection:
		phase, at = usage.PhaseCorrection, op.EndedAt
	}
	switch {
	case op.Leader != "":
		took = 0 // the time is its leader's
	case took <= 0:
		took = op.EndedAt.Sub(op.RequestedAt)
	}
	r := usage.New(lifecycle.Operation{ID: op.ID, Action: op.Action, Account: op.Account, RequestID: op.RequestID}, phase, at, op.Outcome, took)
	r.Data.Joined = op.Leader != ""
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	first, dueAt := due, t.now
	switch {
	case t.store.config.Records == KeepRecords:
		first = delivered
	case position > positionRequested:
		// Locked, since a replica that acknowledges the record before this one at the same
		// time would not see this one, nor this the acknowledgement.
		before, err := t.strings(`select event_id from records where operation = $1 and state < 3 order by position`+t.store.engine.forUpdate, op.ID)
		if err != nil {
			return err
		}
		if len(before) > 0 {
			first = blocked
		}
	}
	if first == due {
		dueAt = t.send(Claim{EventID: r.EventID, Account: op.Account, Body: body})
	}
	_, err = t.exec(`insert into records (event_id, operation, position, account, body, state, created_at, due_at, attempts, delivered_at, reason)
		values ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, '')`, r.EventID, op.ID, position, op.Account, string(body), first, t.now, dueAt)
	return err
}

// send takes a record that becomes due for this process to send once the transaction
// is confirmed, if it has room; and returns from when on others may.
func (t *tx) send(c Claim) (dueAt int64) {
	if t.delivery.reserve(c.Account) {
		t.claims = append(t.claims, c)
		return t.now + (t.store.config.Timeout + leaseSlack).Microseconds()
	}
	t.left = true
	return t.now
}

// Claim is a record to be sent.
type Claim struct {
	EventID  string
	Account  string
	Body     json.RawMessage
	Attempts int // that failed before
}

// claim takes at most most records that were left, of accounts after the one named
// by after, so that none comes twice before all others had their turn.
func (t *tx) claim(after string, most int) (last string, err error) {
	// A loose scan of the index: it costs a step for each account, whatever an
	// account has waiting.
	accounts, err := t.strings(`with recursive heads (account) as (
			select min(account) from records where state = 1 and account > $1
			union all
			select (select min(account) from records where state = 1 and account > heads.account) from heads where heads.account is not null
		) select account from heads where account is not null
		and (select min(due_at) from records where state = 1 and records.account = heads.account) <= $2 limit $3`, after, t.now, most)
	if err != nil {
		return after, err
	}
	for _, account := range accounts {
		if len(t.claims) >= most {
			return last, nil
		}
		last = account
		own, err := t.due(account, min(t.delivery.room(account), most-len(t.claims)))
		if err != nil {
			return after, err
		}
		for _, c := range own {
			if err := t.take(c); err != nil {
				return after, err
			}
		}
	}
	if len(accounts) < most {
		last = "" // all had their turn
	}
	return last, nil
}

// take claims a record that was left, unless another replica does.
func (t *tx) take(c Claim) error {
	dueAt := t.send(c)
	if dueAt == t.now {
		return nil // no room any more
	}
	n, err := t.exec(`update records set due_at = $2 where event_id = $1 and state = 1 and due_at <= $3`, c.EventID, dueAt, t.now)
	if err == nil && n == 0 {
		t.claims = t.claims[:len(t.claims)-1]
		t.delivery.release(c)
	}
	return err
}

func (t *tx) due(account string, limit int) (claims []Claim, err error) {
	rows, err := t.query(`select event_id, account, body, attempts from records where state = 1 and account = $1 and due_at <= $2
		order by due_at limit $3`, account, t.now, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Claim
		var body string
		err = errors.Join(err, rows.Scan(&c.EventID, &c.Account, &body, &c.Attempts))
		c.Body = json.RawMessage(body)
		claims = append(claims, c)
	}
	return claims, t.note(errors.Join(err, rows.Err()))
}

// acknowledge ends the delivery of a record, however late, or drops a parked one,
// and makes the next record of its operation due.
func (t *tx) acknowledge(eventID string, as int) (known bool, err error) {
	from := `state in (1, 2)`
	if as == dropped {
		from = `state = 2`
	}
	var operation string
	known, err = t.scan([]any{&operation}, `update records set state = $2, delivered_at = $3 where event_id = $1 and `+from+` returning operation`,
		eventID, as, t.now)
	if err != nil || !known {
		return false, err
	}
	var next Claim
	var body string
	found, err := t.scan([]any{&next.EventID, &next.Account, &body},
		`select event_id, account, body from records where operation = $1 and state = 0 order by position limit 1`, operation)
	if err == nil && found {
		next.Body = json.RawMessage(body)
		_, err = t.exec(`update records set state = 1, due_at = $2 where event_id = $1`, next.EventID, t.send(next))
	}
	return true, err
}

// retry makes a record due again after wait, or parks it with a reason.
func (t *tx) retry(eventID string, wait time.Duration, reason string) error {
	state := due
	if reason != "" {
		state = parked
	}
	_, err := t.exec(`update records set state = $2, due_at = $3, reason = $4, attempts = attempts + 1 where event_id = $1 and state = 1`,
		eventID, state, t.now+wait.Microseconds(), reason)
	return err
}

// offer makes parked records due that have rested, or all.
func (t *tx) offer(all bool) (int64, error) {
	t.left = true
	return t.exec(`update records set state = 1, due_at = $1, attempts = 0 where state = 2 and (due_at <= $1 or $2 = 1)`, t.now, number(all))
}
