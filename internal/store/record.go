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
	first := due
	if t.store.config.Records == KeepRecords {
		first = delivered
	}
	if t.store.engine.forUpdate != "" {
		// A replica that acknowledges the record before this one, at the same time,
		// would not see this one, nor this the acknowledgement.
		if _, err := t.strings(`select event_id from records where operation = $1 and state < 3 order by position`+t.store.engine.forUpdate, op.ID); err != nil {
			return err
		}
	}
	_, err = t.exec(`insert into records (event_id, operation, position, account, body, state, created_at, due_at, attempts, delivered_at, reason)
		select $1, $2, $3, $4, $5, case when exists(select 1 from records where operation = $2 and state < 3)
		then 0 else cast($6 as integer) end, cast($7 as bigint), cast($7 as bigint), 0, 0, ''`,
		r.EventID, op.ID, position, op.Account, string(body), first, t.now)
	return err
}

// Claim is a record to be sent.
type Claim struct {
	EventID  string
	Account  string
	Body     json.RawMessage
	Attempts int // that failed before
}

// claim takes at most most records that are due, of each account at most room, and
// of accounts after the one named by after, so that none comes twice before all
// others had their turn. They are not due again before lease has passed.
func (t *tx) claim(after string, most int, lease time.Duration, room func(account string) int) (claims []Claim, last string, err error) {
	// A loose scan of the index: it costs a step for each account, whatever an
	// account has waiting.
	accounts, err := t.strings(`with recursive heads (account) as (
			select min(account) from records where state = 1 and account > $1
			union all
			select (select min(account) from records where state = 1 and account > heads.account) from heads where heads.account is not null
		) select account from heads where account is not null
		and (select min(due_at) from records where state = 1 and records.account = heads.account) <= $2 limit $3`, after, t.now, most)
	if err != nil {
		return nil, after, err
	}
	for _, account := range accounts {
		if len(claims) == most {
			return claims, last, nil
		}
		last = account
		own, err := t.due(account, min(room(account), most-len(claims)))
		if err != nil {
			return nil, after, err
		}
		for _, c := range own {
			n, err := t.exec(`update records set due_at = $2 where event_id = $1 and state = 1 and due_at <= $3`,
				c.EventID, t.now+lease.Microseconds(), t.now)
			if err != nil {
				return nil, after, err
			}
			if n == 1 { // otherwise another replica has it
				claims = append(claims, c)
			}
		}
	}
	if len(accounts) < most {
		last = "" // all had their turn
	}
	return claims, last, nil
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
	n, err := t.exec(`update records set state = $2, delivered_at = $3 where event_id = $1 and `+from, eventID, as, t.now)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = t.exec(`update records set state = 1, due_at = $2 where state = 0
		and operation = (select operation from records where event_id = $1)
		and position = (select min(position) from records where state = 0 and operation = (select operation from records where event_id = $1))`,
		eventID, t.now)
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
	return t.exec(`update records set state = 1, due_at = $1, attempts = 0 where state = 2 and (due_at <= $1 or $2 = 1)`, t.now, number(all))
}
