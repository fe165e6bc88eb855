package outbox

import (
	"maps"
	"slices"
	"time"

	"github.com/busdk/bus-api-provider-vm/internal/lifecycle"
	"github.com/busdk/bus-api-provider-vm/internal/usage"
)

// load fills the index with what a previous process left: records to deliver,
// parked ones to offer once more, and open operations to close.
func (o *Outbox) load(found contents) {
	// Stamps on disk are wall time of another process; ages and delays run on
	// the monotonic clock of this one.
	wall, now := o.config.Now(), time.Now()
	operations := map[uint64]*operation{}
	of := func(k uint64) *operation {
		op := operations[k/2]
		if op == nil {
			op = &operation{number: k / 2, requested: settled, terminal: settled}
			operations[k/2] = op
		}
		return op
	}
	for k, r := range found.rows {
		op, since := of(k), now.Add(-max(0, wall.Sub(r.Record.OccurredAt)))
		o.room++
		switch {
		case k == requestedKey(op.number):
			op.requested, op.requestedSince = waiting, since
		case r.Open:
			op.terminal = absent
			o.queueEnd(&ending{op: op, record: closed(r.Record, wall)})
		default:
			op.terminal, op.terminalSince = waiting, since
			// Replies to the previous process do not reach this one, and the
			// integration may have seen the record: it is final.
			op.outcome, op.handed = r.Record.Data.Outcome, true
		}
	}
	for _, k := range found.unreadable {
		o.log.Error("a usage record on disk cannot be read and is parked as it is", "dir", o.config.Dir, "row", k,
			"do", "keep a copy of the outbox file and report it: this record is not billed")
		o.settleAs(settlement{key: k, reason: "the row cannot be read"}, now)
	}
	o.parked = found.stuck + len(found.unreadable)
	o.room += o.parked
	o.next = found.next
	for _, number := range slices.Sorted(maps.Keys(operations)) {
		op := operations[number]
		op.element = o.operations.PushBack(op)
		o.plan(op, now)
	}
	if n := len(found.rows); n > 0 {
		o.log.Info("usage records of the previous run are delivered now",
			"records", n, "closed_with_unknown_outcome", len(o.endings))
	}
}

// closed is the terminal record of an operation whose process died: the reserved
// one, ended now.
func closed(reserved usage.Record, now time.Time) usage.Record {
	took := max(0, now.Sub(reserved.OccurredAt)).Round(time.Microsecond).Seconds()
	reserved.OccurredAt = usage.At(now)
	reserved.Data.Outcome = lifecycle.Unknown
	reserved.Data.DurationSeconds = &took
	return reserved
}
