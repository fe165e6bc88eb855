package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// Operation is one write, as its row says.
type Operation struct {
	lifecycle.Receipt

	followed  bool
	slot      bool
	slotUntil int64

	// Of its usage records.
	durationMS, unknownMS int64
	unknownAt             time.Time
	joined                bool
	records, sent         int
	dueSince, dueAt       int64
	attempts              int
	parked                string
	sentAt                [len(phases)]time.Time
}

const operationColumns = `seq, id, action, account, request_id, requested_at, closes_at, leader, followed, outcome, corrected,
	slot, slot_until, accepted_at, reached_at, ended_at, reason, plan_id, error_type, error_message,
	duration_ms, unknown_at, unknown_ms, joined, records, sent, due_since, due_at, attempts, parked,
	requested_sent_at, ended_sent_at, corrected_sent_at`

// scanOperation reads operationColumns.
func scanOperation(op *Operation, row func(...any) error) error {
	return row(&op.Sequence, &op.ID, &op.Action, &op.Account, &op.RequestID, at{&op.RequestedAt}, at{&op.ClosesAt}, &op.Leader, &op.followed, &op.Outcome, &op.Corrected,
		&op.slot, &op.slotUntil, at{&op.AcceptedAt}, at{&op.ReachedAt}, at{&op.EndedAt}, &op.Reason, &op.PlanID, &op.ErrorType, &op.ErrorMessage,
		&op.durationMS, at{&op.unknownAt}, &op.unknownMS, &op.joined, &op.records, &op.sent, &op.dueSince, &op.dueAt, &op.attempts, &op.parked,
		at{&op.sentAt[0]}, at{&op.sentAt[1]}, at{&op.sentAt[2]})
}

// at reads a time of the database.
type at struct{ *time.Time }

func (a at) Scan(value any) error {
	*a.Time = timeOf(value.(int64)) // as both engines have it
	return nil
}

// find returns the operation with that id; none where there is none.
func (s *Store) find(ctx context.Context, id string) (Operation, error) {
	list, err := s.list(ctx, `where id = $1`, id)
	return first(list), err
}

// Receipt returns the operation with that id; none where there is none.
func (s *Store) Receipt(ctx context.Context, id string) (lifecycle.Receipt, error) {
	op, err := s.find(ctx, id)
	return op.receipt(), err
}

// Receipts returns the latest operations of an account, newest first.
func (s *Store) Receipts(ctx context.Context, account string, limit int) ([]lifecycle.Receipt, error) {
	return s.receipts(ctx, `where account = $1 and action <> '' order by seq desc limit $2`, account, limit)
}

// recentOf bounds the operations of an account that Recent looks at.
const recentOf = 1000

// Recent returns the operations of an account that were last requested, ended or
// reached within ago, the latest change first; of the latest recentOf.
func (s *Store) Recent(ctx context.Context, account string, ago time.Duration) ([]lifecycle.Receipt, error) {
	const changed = `case when reached_at > 0 then reached_at when ended_at > 0 then ended_at else requested_at end`
	return s.receipts(ctx, `where seq in (select seq from operations where account = $1 and action <> '' order by seq desc limit $2)
		and `+changed+` > $3 order by `+changed+` desc, seq desc`, account, recentOf, s.config.Now().Add(-ago).UnixMicro())
}

// Latest returns the operations that were requested last, newest first.
func (s *Store) Latest(ctx context.Context, limit int) ([]lifecycle.Receipt, error) {
	return s.receipts(ctx, `where action <> '' order by seq desc limit $1`, limit)
}

// WantsHistory reports whether a reply that was missed could change an operation:
// one is open, or unknown and young enough to be corrected. Without an answer of the
// store it is true.
func (s *Store) WantsHistory() bool {
	list, err := s.list(context.Background(), `where outcome = '' limit 1`)
	if len(list) == 0 && err == nil { // in two statements, each of which has an index
		list, err = s.list(context.Background(), `where outcome = 'unknown' and ended_at > $1 limit 1`,
			s.config.Now().Add(-s.config.Keep).UnixMicro())
	}
	return len(list) > 0 || err != nil
}

// MaxListed bounds the records of LatestRecords and of Report.
const MaxListed = 1000

// LatestRecords returns the latest usage records, oldest first.
func (s *Store) LatestRecords(ctx context.Context) ([]usage.Record, error) {
	operations, err := s.list(ctx, `where records > 0 order by seq desc limit $1`, MaxListed)
	list := []usage.Record{}
	for _, op := range slices.Backward(operations) {
		for position := range op.records {
			list = append(list, op.record(position))
		}
	}
	slices.SortStableFunc(list, func(a, b usage.Record) int { return a.OccurredAt.Compare(b.OccurredAt) })
	return list[max(0, len(list)-MaxListed):], err
}

// Report is what an operator may want to know of a store, as JSON.
type Report struct {
	Waiting          int      `json:"waiting_records"`           // that are not delivered, parked ones included
	Parked           int      `json:"parked_records"`            // that the usage integration refused
	OldestAgeSeconds float64  `json:"oldest_record_age_seconds"` // of the records that are due, which no parked one is
	DamagedFiles     []string `json:"damaged_files"`             // that were set aside and are still there
	ParkedRecords    []Parked `json:"parked"`                    // the oldest
}

// Report reads the parked records.
func (s *Store) Report(ctx context.Context) (r Report, err error) {
	r = s.Stats()
	r.DamagedFiles = s.files.damaged()
	r.ParkedRecords, err = s.Parked(ctx, MaxListed)
	return r, err
}

// startsOf bounds the starts that startTimes looks at.
const startsOf = 10 * lifecycle.MaxTimes

// startTimes returns how long the last starts took from their acceptance to their
// target state, of the provider of the latest one that reached it; among the latest
// startsOf.
func (s *Store) startTimes(ctx context.Context) ([]time.Duration, error) {
	return read(ctx, s, value[time.Duration], `with latest as (select provider, accepted_at, reached_at from operations
			where reached_at > 0 and action = 'start' and leader = '' order by reached_at desc limit $2)
		select (reached_at - accepted_at) * 1000 from latest where provider = (select provider from latest order by reached_at desc limit 1)
		order by reached_at desc limit $1`, lifecycle.MaxTimes, startsOf)
}

// measureStarts reads again how long the last starts took.
func (s *Store) measureStarts(ctx context.Context) {
	times, err := s.startTimes(ctx)
	if err != nil {
		s.estimate.Store(nil) // until the next look
		return
	}
	estimate := lifecycle.NewEstimate(times)
	s.estimate.Store(&estimate)
}

// Estimate is that of routes.Operations.
func (s *Store) Estimate(r lifecycle.Receipt) (estimate lifecycle.Estimate) {
	if latest := s.estimate.Load(); latest != nil && !s.Superseded(r) {
		estimate = *latest
	}
	return estimate
}

func first(list []Operation) Operation {
	if len(list) == 0 {
		return Operation{}
	}
	return list[0]
}

func (s *Store) list(ctx context.Context, where string, args ...any) ([]Operation, error) {
	return read(ctx, s, scanOperation, `select `+operationColumns+` from operations `+where, args...)
}

func (s *Store) receipts(ctx context.Context, where string, args ...any) (receipts []lifecycle.Receipt, err error) {
	list, err := s.list(ctx, where, args...)
	for _, op := range list {
		receipts = append(receipts, op.receipt())
	}
	return receipts, err
}

// read returns what scan makes of each row of a query, within callTimeout.
func read[T any](ctx context.Context, s *Store, scan func(into *T, row func(...any) error) error, query string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var list []T
	var err error
	for range 1 + readers { // each of their sessions may have been ended
		rows, asked := s.engine.read.QueryContext(ctx, query, args...)
		if list, err = collect(rows, asked, scan); !strings.HasPrefix(sqlState(err), "57P") {
			break
		}
	}
	if err != nil {
		return list, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return list, nil
}

func collect[T any](rows *sql.Rows, err error, scan func(into *T, row func(...any) error) error) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() && err == nil {
		list = append(list, *new(T))
		err = scan(&list[len(list)-1], rows.Scan)
	}
	return list, errors.Join(err, rows.Err())
}

// value reads a row of one column.
func value[T any](into *T, row func(...any) error) error { return row(into) }

// now is the time by the clock of the database, in a statement that takes it once: an
// index finds nothing by what may change with each row.
func (s *Store) now() string {
	if s.engine.clock != "" {
		return "(select " + s.engine.clock + ")"
	}
	return strconv.FormatInt(s.config.Now().UnixMicro(), 10)
}

// Parked is a record that the usage integration refused.
type Parked struct {
	EventID string       `json:"event_id"`
	Reason  string       `json:"reason"`
	RetryAt time.Time    `json:"retry_at"`
	Record  usage.Record `json:"record"`
}

// Parked returns the parked records, oldest first.
func (s *Store) Parked(ctx context.Context, limit int) ([]Parked, error) {
	list := []Parked{}
	operations, err := s.list(ctx, `where parked <> '' order by due_at limit $1`, limit)
	for _, op := range operations {
		list = append(list, Parked{op.eventID(), op.parked, timeOf(op.dueAt), op.record(op.sent)})
	}
	return list, err
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func number(flag bool) int {
	if flag {
		return 1
	}
	return 0
}
